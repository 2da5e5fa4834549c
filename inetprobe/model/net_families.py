"""The address families beside AF_INET and AF_INET6: the function that makes each one's sockets, and three of these.

Each function is the kernel's function of that name, as in ``model.inet_create``. The types and protocols of AF_UNIX,
AF_NETLINK and AF_PACKET are few and the same on every kernel; what the other families take is not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from inetprobe.base.uapi import (
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    FAMILIES,
    NETLINK_ROUTE,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    TYPES,
)
from inetprobe.base.words import listed
from inetprobe.model.inet_create import Outcome, Walk, sk_alloc
from inetprobe.model.inetsw import Protosw
from inetprobe.model.rules import Rule

# svc_create is also a function of sunrpc's; AF_ATMSVC comes with AF_ATMPVC, from the same module.
_CREATES = (
    "UNIX=unix_create INET=inet_create AX25=ax25_create APPLETALK=atalk_create NETROM=nr_create ATMPVC=pvc_create "
    "X25=x25_create INET6=inet6_create ROSE=rose_create DECnet=dn_create KEY=pfkey_create NETLINK=netlink_create "
    "PACKET=packet_create ATMSVC=pvc_create RDS=rds_create PPPOX=pppox_create LLC=llc_ui_create CAN=can_create "
    "TIPC=tipc_sk_create BLUETOOTH=bt_sock_create IUCV=iucv_sock_create RXRPC=rxrpc_create ISDN=mISDN_sock_create "
    "PHONET=pn_socket_create IEEE802154=ieee802154_create CAIF=caif_create ALG=alg_create NFC=nfc_sock_create "
    "VSOCK=vsock_create KCM=kcm_create QIPCRTR=qrtr_create SMC=smc_create XDP=xsk_create MCTP=mctp_pf_create"
)
_NUMBERS = {name: number for number, name in FAMILIES.items()}
#: net_families[family]->create of the families that Linux 5.10 to 7.x can have, each a function that no other code has.
NET_FAMILIES: Mapping[int, str] = {
    _NUMBERS[f"AF_{family}"]: create for family, create in (pair.split("=") for pair in _CREATES.split())
}

#: packet_proto of net/packet/af_packet.c, and its like; no list of inetsw has them. The names of AF_UNIX's differ.
PACKET_PROTO = Protosw(AF_PACKET, SOCK_PACKET, 0, "PACKET", 0, "none", "packet")
_NETLINK_PROTO = Protosw(AF_NETLINK, SOCK_RAW, 0, "NETLINK", 0, "none", "netlink")
_UNIX_PROTO = Protosw(AF_UNIX, SOCK_STREAM, 0, "UNIX", 0, "none", "unix")
# include/uapi/linux/netlink.h
_MAX_LINKS = 32


class Mismatch(NamedTuple):
    """A type or a protocol that a family never has: the errno, why in one sentence, and what to do ``instead``."""

    errno: str
    reason: str
    instead: str


def mismatch(family: int, type_: int, protocol: int) -> Mismatch | None:
    """Why ``family`` refuses ``type_`` or ``protocol``; None where it has both, or is not modelled."""
    # protocol && protocol != PF_UNIX, before the switch (sock->type)
    if family == AF_UNIX and protocol not in (0, AF_UNIX):
        return Mismatch("EPROTONOSUPPORT", "AF_UNIX takes protocol 0 or 1 (PF_UNIX)", "pass protocol 0")
    # sock->type
    if family in _TYPES and type_ not in _TYPES[family]:
        have = listed((TYPES[each] for each in _TYPES[family]), "or")
        type_name = TYPES.get(type_, f"socket type {type_}")
        return Mismatch("ESOCKTNOSUPPORT", f"{FAMILIES[family]} has no sockets of {type_name}", f"pass {have}")
    # protocol < 0 || protocol >= MAX_LINKS
    if family == AF_NETLINK and not 0 <= protocol < _MAX_LINKS:
        reason = f"AF_NETLINK takes a protocol from 0 to {_MAX_LINKS - 1}"
        return Mismatch("EPROTONOSUPPORT", reason, "pass one of NETLINK_*, such as NETLINK_ROUTE (0)")
    return None


_TYPES: Mapping[int, Collection[int]] = {
    AF_UNIX: (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW),
    AF_NETLINK: (SOCK_RAW, SOCK_DGRAM),
    AF_PACKET: (SOCK_RAW, SOCK_DGRAM, SOCK_PACKET),
}


def unix_create(walk: Walk, type_: int, protocol: int) -> Outcome:
    """``static int unix_create(struct net *net, struct socket *sock, int protocol, int kern)``

    net/unix/af_unix.c.
    """
    refused = mismatch(AF_UNIX, type_, protocol)
    if refused is not None:
        return Outcome(Rule.FAMILY_CREATE, refused.errno)
    # unix_create1(): sk = sk_alloc(net, PF_UNIX, GFP_KERNEL, &unix_stream_proto, kern); !sk
    failure = sk_alloc(walk, _UNIX_PROTO)
    return Outcome(Rule.CREATED) if failure is None else Outcome(failure, "ENOMEM")


def netlink_create(walk: Walk, type_: int, protocol: int) -> Outcome:
    """``static int netlink_create(struct net *net, struct socket *sock, int protocol, int kern)``

    net/netlink/af_netlink.c. The outcome is unknown for a protocol that some part of the kernel has to register.
    """
    refused = mismatch(AF_NETLINK, type_, protocol)
    if refused is not None:
        return Outcome(Rule.FAMILY_CREATE, refused.errno)
    # nl_table[protocol].registered: NETLINK_ROUTE is, by net/core/rtnetlink.c rtnetlink_net_init()
    if protocol != NETLINK_ROUTE:
        return Outcome(Rule.FAMILY_CREATE)
    # __netlink_create(): sk = sk_alloc(net, PF_NETLINK, GFP_KERNEL, &netlink_proto, kern); !sk
    failure = sk_alloc(walk, _NETLINK_PROTO)
    return Outcome(Rule.CREATED if failure is None else failure, failure and "ENOMEM", _NETLINK_PROTO)


def packet_create(walk: Walk, type_: int, protocol: int) -> Outcome:
    """``static int packet_create(struct net *net, struct socket *sock, int protocol, int kern)``

    net/packet/af_packet.c. It takes any protocol.
    """
    # !ns_capable(net->user_ns, CAP_NET_RAW)
    if not walk.world.cap_net_raw():
        return Outcome(Rule.PACKET_CAP_NET_RAW, "EPERM")
    refused = mismatch(AF_PACKET, type_, protocol)
    if refused is not None:
        return Outcome(Rule.FAMILY_CREATE, refused.errno)
    # sk = sk_alloc(net, PF_PACKET, GFP_KERNEL, &packet_proto, kern); sk == NULL
    failure = sk_alloc(walk, PACKET_PROTO)
    return Outcome(Rule.CREATED if failure is None else failure, failure and "ENOBUFS", PACKET_PROTO)


#: The creates that are modelled here.
MODELLED: Mapping[int, Callable[[Walk, int, int], Outcome]] = {
    AF_UNIX: unix_create,
    AF_NETLINK: netlink_create,
    AF_PACKET: packet_create,
}


def undecided(family: int, protocol: int) -> str:
    """Why it is unknown how ``family``'s create ends, as one sentence without a full stop."""
    if family == AF_NETLINK:
        return f"whether this kernel has the netlink protocol {protocol} is not known"
    name = FAMILIES[family]
    return f"{name}'s own code decides about type and protocol, as its manual page says (address_families(7) names it)"
