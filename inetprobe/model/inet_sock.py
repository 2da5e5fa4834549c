"""The fields that inet_create() and inet6_create() set on a new sock, predicted for ``--sock``.

Sources: net/ipv4/af_inet.c (inet_create), net/ipv6/af_inet6.c (inet6_create), and the init functions that change a
field afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

from inetprobe.base.uapi import AF_INET, IPPROTO_L2TP, IPPROTO_RAW, SOCK_RAW
from inetprobe.model.inetsw import INET_PROTOSW_ICSK, INET_PROTOSW_REUSE, Protosw
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import PROTS

# include/uapi/linux/in.h
IP_PMTUDISC_DONT, IP_PMTUDISC_WANT = 0, 1


class Sock(NamedTuple):
    """Members of ``struct sock`` and ``struct inet_sock``, under the kernel's names.

    In a sock that was seen, None means that the kernel does not have the field; in a predicted one, that any value will
    do. ``inet_sport`` is in host byte order.
    """

    sk_type: int | None
    sk_protocol: int | None
    sk_reuse: int | None
    inet_num: int | None
    inet_sport: int | None
    is_icsk: int | None
    hdrincl: int | None
    nodefrag: int | None
    pmtudisc: int | None
    uc_ttl: int | None
    mc_ttl: int | None
    mc_loop: int | None
    mc_all: int | None
    mc_index: int | None
    rcv_tos: int | None

    def known(self) -> dict[str, int]:
        """The fields that are not None, by name."""
        return {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}


class Difference(NamedTuple):
    """A field whose value is not the predicted one."""

    field: str
    expected: int
    seen: int


def entry_of(prot: str, type_: int) -> Protosw:
    """The entry of inetsw for a struct proto and a socket type; the entries of one proto differ only in their type."""
    return PROTS[prot]._replace(type=type_)


def expected(entry: Protosw, protocol: int, profile: Profile) -> Sock:
    """The sock that inet_create() makes of ``entry``; ``protocol`` is the one after the lookup."""
    raw = entry.type == SOCK_RAW
    number = protocol & 0xFFFF if raw else 0  # inet_num is a __u16
    no_pmtu_disc = profile.ip_no_pmtu_disc
    return Sock(
        sk_type=entry.type,  # sock_init_data() of net/core/sock.c
        sk_protocol=protocol if profile.features.wide_protocol else protocol & 0xFF,
        sk_reuse=int(bool(entry.flags & INET_PROTOSW_REUSE)),  # SK_CAN_REUSE
        # l2tp_ip_open() and l2tp_ip6_open() of net/l2tp/ set inet_num, not inet_sport, to prevent an autobind.
        inet_num=IPPROTO_L2TP if entry.unit in ("l2tp_ip", "l2tp_ip6") else number,
        inet_sport=number,
        # SMC's entry had INET_PROTOSW_ICSK until 60ada4fe644e (Linux 6.17): a smc_sock is no inet_connection_sock.
        is_icsk=None if entry.init == "smc" else int(bool(entry.flags & INET_PROTOSW_ICSK)),
        hdrincl=int(raw and protocol == IPPROTO_RAW),
        nodefrag=0,
        pmtudisc=None if no_pmtu_disc is None else IP_PMTUDISC_DONT if no_pmtu_disc else IP_PMTUDISC_WANT,
        uc_ttl=-1,
        mc_ttl=1,
        mc_loop=1,
        mc_all=int(entry.family == AF_INET),  # inet6_create() sets only IPv6's own flag
        mc_index=0,
        rcv_tos=0,
    )


def differences(seen: Sock, predicted: Sock) -> list[Difference]:
    """The fields in which ``seen`` differs from ``predicted``, in their order."""
    return [
        Difference(name, expected, actual)
        for name, expected, actual in zip(Sock._fields, predicted, seen, strict=True)
        if expected is not None and actual is not None and actual != expected and not _may_differ(name, actual)
    ]


def _may_differ(name: str, seen: int) -> bool:
    # Each net namespace has its own ip_no_pmtu_disc, and it may have changed since the profile was made.
    return name == "pmtudisc" and seen in (IP_PMTUDISC_DONT, IP_PMTUDISC_WANT)
