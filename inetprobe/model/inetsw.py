"""``inetsw`` and ``inetsw6``: the lists of ``struct inet_protosw`` by socket type, and the walk along one of them.

Source: net/ipv4/af_inet.c, inet_register_protosw() and inet_create(); net/ipv6/af_inet6.c alike (Linux 2.6 to 7.x).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

IPPROTO_IP = 0

# include/net/protocol.h
INET_PROTOSW_REUSE = 1
INET_PROTOSW_PERMANENT = 2
INET_PROTOSW_ICSK = 4


class Protosw(NamedTuple):
    """One ``struct inet_protosw`` and what matters of its ``struct proto``.

    ``prot`` is the proto's name; ``init`` tells how its init function can fail: ``none`` (or only for want of
    memory), ``ping``, ``mptcp``, ``smc``. ``unit`` is what registers it: a module, or a part of the kernel's image.
    """

    family: int
    type: int
    protocol: int
    prot: str
    flags: int
    init: str
    unit: str


class Inetsw:
    """The lists of one address family. Lists are replaced, not changed, so that a copy is cheap."""

    def __init__(self, entries: Iterable[Protosw] = ()) -> None:
        """Registers ``entries`` one after the other."""
        self._lists: dict[int, tuple[Protosw, ...]] = {}
        for entry in entries:
            self.register(entry)

    def register(self, entry: Protosw) -> bool:
        """Puts ``entry`` behind the last permanent one of its type, before older ones that are not.

        False, and nothing happens, where a permanent entry has its protocol already: those cannot be overridden.
        """
        entries = self._lists.get(entry.type, ())
        place = 0
        for present in entries:
            if not present.flags & INET_PROTOSW_PERMANENT:
                break
            if present.protocol == entry.protocol:
                return False
            place += 1
        self._lists[entry.type] = (*entries[:place], entry, *entries[place:])
        return True

    def entries(self, type_: int) -> tuple[Protosw, ...]:
        """The list of one socket type, first to last."""
        return self._lists.get(type_, ())


def walk(entries: Sequence[Protosw], protocol: int) -> Protosw | None:
    """The first entry that matches ``protocol``, or None.

    An entry matches its own protocol unless that is 0; protocol 0 takes the first entry that has one; an entry with
    protocol 0 takes any protocol but 0.
    """
    for entry in entries:
        if protocol == entry.protocol:
            if protocol != IPPROTO_IP:
                return entry
        elif IPPROTO_IP in (protocol, entry.protocol):
            return entry
    return None
