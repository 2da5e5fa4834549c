"""``inetsw`` and ``inetsw6``: the lists of ``struct inet_protosw`` by socket type, and the lookup in one of them.

Sources: net/ipv4/af_inet.c, inet_register_protosw() and inet_create(); the same in net/ipv6/af_inet6.c (Linux 2.6 to
7.x).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from inetprobe.base.uapi import IPPROTO_IP

# include/net/protocol.h
INET_PROTOSW_REUSE = 1
INET_PROTOSW_PERMANENT = 2
INET_PROTOSW_ICSK = 4


class Protosw(NamedTuple):
    """One ``struct inet_protosw``, with the name of its ``struct proto`` and how that one's init can fail.

    ``prot`` is the proto's name. ``init`` is ``ping``, ``mptcp`` or ``smc`` if the proto's init function has a check of
    its own, else ``none`` (it can only run out of memory). ``unit`` names the module, or the part of the
    kernel's image, that registers the entry.
    """

    family: int
    type: int
    protocol: int
    prot: str
    flags: int
    init: str
    unit: str


class Inetsw:
    """The lists of one address family. A list is replaced, never changed in place."""

    def __init__(self, entries: Iterable[Protosw] = ()) -> None:
        """Registers ``entries`` in their order."""
        self._lists: dict[int, tuple[Protosw, ...]] = {}
        for entry in entries:
            self.register(entry)

    def register(self, entry: Protosw) -> bool:
        """``void inet_register_protosw(struct inet_protosw *p)``

        Inserts ``entry`` after the permanent entries of its type and before the others. Returns False and changes
        nothing if a permanent entry has the same protocol: it cannot be overridden.
        """
        entries = self._lists.get(entry.type, ())
        index = 0
        for answer in entries:
            if not answer.flags & INET_PROTOSW_PERMANENT:
                break
            if answer.protocol == entry.protocol:
                return False
            index += 1
        self._lists[entry.type] = (*entries[:index], entry, *entries[index:])
        return True

    def entries(self, type_: int) -> tuple[Protosw, ...]:
        """The list of one socket type, first to last."""
        return self._lists.get(type_, ())


def lookup(entries: Sequence[Protosw], protocol: int) -> Protosw | None:
    """``list_for_each_entry_rcu(answer, &inetsw[sock->type], list)`` of inet_create(): the first match, or None.

    An entry matches its own protocol, unless that is 0. Protocol 0 matches the first entry whose protocol is not 0. An
    entry with protocol 0 matches any protocol but 0.
    """
    for answer in entries:
        if protocol == answer.protocol:
            if protocol != IPPROTO_IP:
                return answer
        elif IPPROTO_IP in (protocol, answer.protocol):
            return answer
    return None
