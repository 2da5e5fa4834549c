"""What registers in inetsw: parts of the kernel's image and modules, with the names modprobe knows them by.

Sources, Linux 6.12 unless said otherwise: net/ipv4/af_inet.c (inetsw_array), net/ipv4/udplite.c and net/ipv6/udplite.c,
net/ipv6/{tcp_ipv6,udp,raw,ping}.c, net/mptcp/protocol.c, net/sctp/{protocol,ipv6}.c, net/dccp/ipv4.c and ipv6.c (up to
6.15), net/l2tp/l2tp_ip.c and l2tp_ip6.c, net/smc/smc_inet.c (from 6.11 on).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from inetprobe.model.inetsw import INET_PROTOSW_ICSK, INET_PROTOSW_PERMANENT, INET_PROTOSW_REUSE, Protosw

AF_INET, AF_INET6 = 2, 10
FAMILIES = (AF_INET, AF_INET6)
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET = 1, 2, 3, 5, 6, 10
SOCK_MAX = 11

_PERMANENT_ICSK = INET_PROTOSW_PERMANENT | INET_PROTOSW_ICSK


class Unit(NamedTuple):
    """What is registered together. ``aliases`` are those of the upstream kernel; a distribution may leave some out."""

    name: str
    entries: tuple[Protosw, ...]
    aliases: tuple[str, ...] = ()


def _unit(name: str, *rows: tuple[int, int, int, str, int], init: str = "none", aliases: tuple[str, ...] = ()) -> Unit:
    return Unit(name, tuple(Protosw(*row, init, name) for row in rows), aliases)


def _aliases(*formats: str) -> tuple[str, ...]:
    return tuple(f"net-pf-{text}" for text in formats)


_ALL = (
    _unit(
        "tcp",
        (AF_INET, SOCK_STREAM, 6, "TCP", _PERMANENT_ICSK),
        (AF_INET6, SOCK_STREAM, 6, "TCPv6", _PERMANENT_ICSK),
    ),
    _unit(
        "udp",
        (AF_INET, SOCK_DGRAM, 17, "UDP", INET_PROTOSW_PERMANENT),
        (AF_INET6, SOCK_DGRAM, 17, "UDPv6", INET_PROTOSW_PERMANENT),
    ),
    _unit("ping", (AF_INET, SOCK_DGRAM, 1, "PING", INET_PROTOSW_REUSE), init="ping"),
    _unit("pingv6", (AF_INET6, SOCK_DGRAM, 58, "PINGv6", INET_PROTOSW_REUSE), init="ping"),
    _unit(
        "raw",
        (AF_INET, SOCK_RAW, 0, "RAW", INET_PROTOSW_REUSE),
        (AF_INET6, SOCK_RAW, 0, "RAWv6", INET_PROTOSW_REUSE),
    ),
    _unit(
        "udplite",
        (AF_INET, SOCK_DGRAM, 136, "UDP-Lite", INET_PROTOSW_PERMANENT),
        (AF_INET6, SOCK_DGRAM, 136, "UDPLITEv6", INET_PROTOSW_PERMANENT),
    ),
    _unit(
        "mptcp",
        (AF_INET, SOCK_STREAM, 262, "MPTCP", INET_PROTOSW_ICSK),
        (AF_INET6, SOCK_STREAM, 262, "MPTCPv6", INET_PROTOSW_ICSK),
        init="mptcp",
    ),
    _unit(
        "sctp",
        (AF_INET, SOCK_SEQPACKET, 132, "SCTP", 0),
        (AF_INET, SOCK_STREAM, 132, "SCTP", 0),
        (AF_INET6, SOCK_SEQPACKET, 132, "SCTPv6", 0),
        (AF_INET6, SOCK_STREAM, 132, "SCTPv6", 0),
        aliases=_aliases("2-proto-132", "10-proto-132"),
    ),
    _unit(
        "dccp_ipv4",
        (AF_INET, SOCK_DCCP, 33, "DCCP", INET_PROTOSW_ICSK),
        aliases=_aliases("2-proto-33-type-6", "2-proto-0-type-6"),
    ),
    _unit(
        "dccp_ipv6",
        (AF_INET6, SOCK_DCCP, 33, "DCCPv6", INET_PROTOSW_ICSK),
        aliases=_aliases("10-proto-33-type-6", "10-proto-0-type-6"),
    ),
    _unit("l2tp_ip", (AF_INET, SOCK_DGRAM, 115, "L2TP/IP", 0), aliases=_aliases("2-proto-115-type-2", "2-proto-115")),
    _unit(
        "l2tp_ip6",
        (AF_INET6, SOCK_DGRAM, 115, "L2TP/IPv6", 0),
        aliases=_aliases("10-proto-115-type-2", "10-proto-115"),
    ),
    _unit(
        "smc",
        (AF_INET, SOCK_STREAM, 256, "INET_SMC", 0),
        (AF_INET6, SOCK_STREAM, 256, "INET6_SMC", 0),
        init="smc",
        aliases=_aliases("2-proto-256-type-1", "10-proto-256-type-1"),
    ),
)
UNITS: Mapping[str, Unit] = {unit.name: unit for unit in _ALL}

#: Every proto the model has rules for, by name: its family and unit.
PROTS: Mapping[str, Protosw] = {entry.prot: entry for unit in _ALL for entry in unit.entries}

#: The order in which the kernel's image registers them (fs_initcall(inet_init), module_init(inet6_init)).
BUILT_IN = ("tcp", "udp", "ping", "raw", "udplite", "pingv6", "mptcp")
#: Modules that another one needs, so that loading the one registers both.
NEEDS: Mapping[str, tuple[str, ...]] = {"dccp_ipv6": ("dccp_ipv4",)}
