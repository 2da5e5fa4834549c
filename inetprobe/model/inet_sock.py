"""What inet_create and inet6_create set on the sock they make: the fields of ``--sock``, predicted.

Sources: net/ipv4/af_inet.c (inet_create), net/ipv6/af_inet6.c (inet6_create), and those protocols' init that change one
of them afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

from inetprobe.model.inetsw import INET_PROTOSW_ICSK, INET_PROTOSW_REUSE, Protosw
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import AF_INET, PROTS, SOCK_RAW

_IPPROTO_L2TP, _IPPROTO_RAW = 115, 255
# include/uapi/linux/in.h
IP_PMTUDISC_DONT, IP_PMTUDISC_WANT = 0, 1


class Sock(NamedTuple):
    """Members of ``struct sock`` and ``struct inet_sock``, under the names the kernel's code has for them.

    Seen, a field is None where the kernel does not have it; predicted, where any value will do. ``inet_sport`` is in
    host byte order.
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
        """Its fields by name, without those that are None."""
        return {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}


class Difference(NamedTuple):
    """A field that is not as predicted."""

    field: str
    expected: int
    seen: int


def entry_of(prot: str, type_: int) -> Protosw:
    """The entry of the table that leads to a struct proto; a proto's entries differ in type alone."""
    return PROTS[prot]._replace(type=type_)


def expected(entry: Protosw, protocol: int, profile: Profile) -> Sock:
    """The sock that ``entry`` of the table leads to; ``protocol`` is the one after the walk."""
    raw = entry.type == SOCK_RAW
    number = protocol & 0xFFFF if raw else 0  # inet_num is a __u16
    no_discovery = profile.ip_no_pmtu_disc
    return Sock(
        sk_type=entry.type,  # sock_init_data() of net/core/sock.c
        sk_protocol=protocol if profile.features.wide_protocol else protocol & 0xFF,
        sk_reuse=int(bool(entry.flags & INET_PROTOSW_REUSE)),  # SK_CAN_REUSE
        # l2tp_ip_open() and l2tp_ip6_open() of net/l2tp/ set it to prevent an autobind, but not the port.
        inet_num=_IPPROTO_L2TP if entry.unit in ("l2tp_ip", "l2tp_ip6") else number,
        inet_sport=number,
        # SMC's entry had the flag until smc_sock was seen not to be an inet_connection_sock (60ada4fe644e, Linux 6.17).
        is_icsk=None if entry.init == "smc" else int(bool(entry.flags & INET_PROTOSW_ICSK)),
        hdrincl=int(raw and protocol == _IPPROTO_RAW),
        nodefrag=0,
        pmtudisc=None if no_discovery is None else IP_PMTUDISC_DONT if no_discovery else IP_PMTUDISC_WANT,
        uc_ttl=-1,
        mc_ttl=1,
        mc_loop=1,
        mc_all=int(entry.family == AF_INET),  # inet6_create() sets IPv6's own alone
        mc_index=0,
        rcv_tos=0,
    )


def differences(seen: Sock, wanted: Sock) -> list[Difference]:
    """Where ``seen`` is not as ``wanted``, in the fields' order."""
    return [
        Difference(name, want, have)
        for name, want, have in zip(Sock._fields, wanted, seen, strict=True)
        if want is not None and have is not None and have != want and not _may_differ(name, have)
    ]


def _may_differ(name: str, seen: int) -> bool:
    # ip_no_pmtu_disc is each net namespace's own, and may have changed since the profile was made.
    return name == "pmtudisc" and seen in (IP_PMTUDISC_DONT, IP_PMTUDISC_WANT)
