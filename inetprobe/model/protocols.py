"""The protocols that register in inetsw, built in or as modules, with the aliases that modprobe finds them by.

Sources (Linux 6.12 unless said otherwise): net/ipv4/af_inet.c (inetsw_array), net/ipv4/udplite.c,
net/ipv6/{tcp_ipv6,udp,raw,ping,udplite}.c, net/mptcp/protocol.c, net/sctp/{protocol,ipv6}.c, net/dccp/{ipv4,ipv6}.c (up
to 6.15), net/l2tp/{l2tp_ip,l2tp_ip6}.c, net/smc/smc_inet.c (from 6.11 on).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_L2TP,
    IPPROTO_MPTCP,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)
from inetprobe.model.inetsw import INET_PROTOSW_ICSK, INET_PROTOSW_PERMANENT, INET_PROTOSW_REUSE, Protosw

_PERMANENT_ICSK = INET_PROTOSW_PERMANENT | INET_PROTOSW_ICSK


class Unit(NamedTuple):
    """Entries that are registered together. ``aliases`` are upstream's; a distribution may leave some out."""

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
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, "TCP", _PERMANENT_ICSK),
        (AF_INET6, SOCK_STREAM, IPPROTO_TCP, "TCPv6", _PERMANENT_ICSK),
    ),
    _unit(
        "udp",
        (AF_INET, SOCK_DGRAM, IPPROTO_UDP, "UDP", INET_PROTOSW_PERMANENT),
        (AF_INET6, SOCK_DGRAM, IPPROTO_UDP, "UDPv6", INET_PROTOSW_PERMANENT),
    ),
    _unit("ping", (AF_INET, SOCK_DGRAM, IPPROTO_ICMP, "PING", INET_PROTOSW_REUSE), init="ping"),
    _unit("pingv6", (AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, "PINGv6", INET_PROTOSW_REUSE), init="ping"),
    _unit(
        "raw",
        (AF_INET, SOCK_RAW, IPPROTO_IP, "RAW", INET_PROTOSW_REUSE),
        (AF_INET6, SOCK_RAW, IPPROTO_IP, "RAWv6", INET_PROTOSW_REUSE),
    ),
    _unit(
        "udplite",
        (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, "UDP-Lite", INET_PROTOSW_PERMANENT),
        (AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE, "UDPLITEv6", INET_PROTOSW_PERMANENT),
    ),
    _unit(
        "mptcp",
        (AF_INET, SOCK_STREAM, IPPROTO_MPTCP, "MPTCP", INET_PROTOSW_ICSK),
        (AF_INET6, SOCK_STREAM, IPPROTO_MPTCP, "MPTCPv6", INET_PROTOSW_ICSK),
        init="mptcp",
    ),
    _unit(
        "sctp",
        (AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP, "SCTP", 0),
        (AF_INET, SOCK_STREAM, IPPROTO_SCTP, "SCTP", 0),
        (AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP, "SCTPv6", 0),
        (AF_INET6, SOCK_STREAM, IPPROTO_SCTP, "SCTPv6", 0),
        aliases=_aliases("2-proto-132", "10-proto-132"),
    ),
    _unit(
        "dccp_ipv4",
        (AF_INET, SOCK_DCCP, IPPROTO_DCCP, "DCCP", INET_PROTOSW_ICSK),
        aliases=_aliases("2-proto-33-type-6", "2-proto-0-type-6"),
    ),
    _unit(
        "dccp_ipv6",
        (AF_INET6, SOCK_DCCP, IPPROTO_DCCP, "DCCPv6", INET_PROTOSW_ICSK),
        aliases=_aliases("10-proto-33-type-6", "10-proto-0-type-6"),
    ),
    _unit(
        "l2tp_ip",
        (AF_INET, SOCK_DGRAM, IPPROTO_L2TP, "L2TP/IP", 0),
        aliases=_aliases("2-proto-115-type-2", "2-proto-115"),
    ),
    _unit(
        "l2tp_ip6",
        (AF_INET6, SOCK_DGRAM, IPPROTO_L2TP, "L2TP/IPv6", 0),
        aliases=_aliases("10-proto-115-type-2", "10-proto-115"),
    ),
    _unit(
        "smc",
        (AF_INET, SOCK_STREAM, IPPROTO_SMC, "INET_SMC", 0),
        (AF_INET6, SOCK_STREAM, IPPROTO_SMC, "INET6_SMC", 0),
        init="smc",
        aliases=_aliases("2-proto-256-type-1", "10-proto-256-type-1"),
    ),
)
UNITS: Mapping[str, Unit] = {unit.name: unit for unit in _ALL}

#: Every struct proto that the model has rules for, by name. A proto with several entries has the last.
PROTS: Mapping[str, Protosw] = {entry.prot: entry for unit in _ALL for entry in unit.entries}

#: The order in which the kernel's image registers them (fs_initcall(inet_init), module_init(inet6_init)).
BUILT_IN = ("tcp", "udp", "ping", "raw", "udplite", "pingv6", "mptcp")
#: The modules that each module depends on: loading it registers them first.
NEEDS: Mapping[str, tuple[str, ...]] = {"dccp_ipv6": ("dccp_ipv4",)}
