"""The C headers' names of families, socket types, protocols and errnos, both ways.

Sources: include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h and in6.h and
include/uapi/asm-generic/errno*.h (Linux 6.12). The ``socket`` module is not used, so that a
recording reads the same everywhere.
"""

from __future__ import annotations

import errno as _errno
from collections.abc import Mapping

from inetprobe.base.errors import UsageError
from inetprobe.base.words import did_you_mean, quoted

_FAMILY_ORDER = (
    "UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY "
    "NETLINK PACKET ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV RXRPC "
    "ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK KCM QIPCRTR SMC XDP MCTP"
)
FAMILIES: Mapping[int, str] = {number: f"AF_{name}" for number, name in enumerate(_FAMILY_ORDER.split())}

TYPES: Mapping[int, str] = {
    1: "SOCK_STREAM",
    2: "SOCK_DGRAM",
    3: "SOCK_RAW",
    4: "SOCK_RDM",
    5: "SOCK_SEQPACKET",
    6: "SOCK_DCCP",
    10: "SOCK_PACKET",
}

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_XDP, AF_MCTP = 1, 2, 10, 16, 17, 44, 45
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET = 1, 2, 3, 4, 5, 6, 10
SOCK_TYPE_MASK, SOCK_NONBLOCK, SOCK_CLOEXEC = 0xF, 0o4000, 0o2000000
IPPROTO_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_ICMPV6 = 0, 1, 6, 17, 33, 58
NETLINK_ROUTE = 0
IPPROTO_L2TP, IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_RAW, IPPROTO_SMC, IPPROTO_MPTCP = 115, 132, 136, 255, 256, 262

_PROTOCOL_NUMBERS = (
    "IP=0 ICMP=1 IGMP=2 IPIP=4 TCP=6 EGP=8 PUP=12 UDP=17 IDP=22 TP=29 DCCP=33 IPV6=41 ROUTING=43 FRAGMENT=44 "
    "RSVP=46 GRE=47 ESP=50 AH=51 ICMPV6=58 NONE=59 DSTOPTS=60 MTP=92 BEETPH=94 ENCAP=98 PIM=103 COMP=108 "
    "L2TP=115 SCTP=132 MH=135 UDPLITE=136 MPLS=137 ETHERNET=143 AGGFRAG=144 RAW=255 SMC=256 MPTCP=262"
)
PROTOCOLS: Mapping[int, str] = {
    int(number): f"IPPROTO_{name}" for name, number in (pair.split("=") for pair in _PROTOCOL_NUMBERS.split())
}

# For some numbers errno.errorcode has an alias; these are the names of the kernel's headers.
# Two stand beyond all errnos (MAX_ERRNO of include/linux/err.h is 4095): see ERRNO_SIGSYS of bpf/record.h.
SIGSYS, SIGKILL = 4096, 4097
ERRNOS: Mapping[int, str] = {
    **_errno.errorcode, 11: "EAGAIN", 35: "EDEADLK", 95: "EOPNOTSUPP", SIGSYS: "SIGSYS", SIGKILL: "SIGKILL",
}  # fmt: skip

# include/uapi/linux/netlink.h
_NETLINK_ORDER = (
    "ROUTE UNUSED USERSOCK FIREWALL SOCK_DIAG NFLOG XFRM SELINUX ISCSI AUDIT FIB_LOOKUP CONNECTOR NETFILTER IP6_FW "
    "DNRTMSG KOBJECT_UEVENT GENERIC DM SCSITRANSPORT ECRYPTFS RDMA CRYPTO SMC"
)
_NETLINK_PROTOCOLS = {f"NETLINK_{name}": number for number, name in enumerate(_NETLINK_ORDER.split())}

_ALIASES = {
    "ENOTSUP": 95,
    "EWOULDBLOCK": 11,
    "AF_LOCAL": 1,
    "AF_FILE": 1,
    "AF_ROUTE": 16,
    "IPPROTO_HOPOPTS": 0,
    "IPPROTO_ICMP6": 58,
}
_PREFIXES = {"family": ("AF_", "PF_"), "type": ("SOCK_",), "protocol": ("IPPROTO_",), "errno": ("",)}
_EXAMPLES = {"family": "AF_INET", "type": "SOCK_STREAM", "protocol": "IPPROTO_TCP", "errno": "EPERM"}
_TABLES = {"family": FAMILIES, "type": TYPES, "protocol": PROTOCOLS, "errno": ERRNOS}


def errno_name(number: int) -> str:
    """``"EPERM"`` for 1; a number without a name in the C headers as a number (``"524"``)."""
    return ERRNOS.get(number, str(number))


def call_text(family: int, type_: int, protocol: int, syscall: str = "socket") -> str:
    """The call in C: ``socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP)``; ``type_`` may have flags.

    ``syscall`` is ``socket``, ``socketpair`` or ``io_uring``, which makes ``socket(…) by io_uring``.
    """
    by, name = (" by io_uring", "socket") if syscall == "io_uring" else ("", syscall)
    words = FAMILIES.get(family, str(family)), _type_text(type_), protocols_of(family).get(protocol, str(protocol))
    return f"{name}({', '.join(words)}){by}"


def protocols_of(family: int) -> Mapping[int, str]:
    """The names of a family's protocols: another family's numbers are none of IPPROTO_*."""
    return PROTOCOLS if family in (AF_INET, AF_INET6) else {}


def _type_text(type_: int) -> str:
    if type_ < 0:
        return str(type_)
    flags = {SOCK_CLOEXEC: "SOCK_CLOEXEC", SOCK_NONBLOCK: "SOCK_NONBLOCK"}
    bare, unknown = type_ & SOCK_TYPE_MASK, type_ & ~(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK)
    words = [TYPES.get(bare, str(bare)), *(name for flag, name in flags.items() if type_ & flag)]
    return "|".join(words + [hex(unknown)] * bool(unknown))


def parse(kind: str, text: str) -> int:
    """The number of a ``family``, ``type``, ``protocol`` or ``errno`` given by name or number, in any case.

    ``inet``, ``AF_INET``, ``PF_INET`` and ``2`` are the same family. Raises UsageError, which suggests similar names.
    """
    word = text.strip()
    try:
        number = int(word, 0)
    except ValueError:
        pass
    else:
        if not -(1 << 31) <= number < 1 << 31:
            raise UsageError(f"{kind} {word[:20]}… does not fit into a C int")
        return number
    if kind == "protocol" and word.upper() in _NETLINK_PROTOCOLS:
        return _NETLINK_PROTOCOLS[word.upper()]
    known = {name.upper(): number for number, name in _TABLES[kind].items()} | _ALIASES
    for prefix in _PREFIXES[kind]:
        bare = word.upper().removeprefix(prefix)
        canonical = f"{_PREFIXES[kind][0]}{bare}"
        if canonical in known:
            return known[canonical]
    raise UsageError(f"unknown {kind} {quoted(text)}{_nearest(kind, word)}")


def _nearest(kind: str, word: str) -> str:
    prefix = _PREFIXES[kind][0]
    names = {name.removeprefix(prefix).lower(): name for name in _TABLES[kind].values()}
    otherwise = f"give a name such as {_EXAMPLES[kind]}, or a number"
    return f": {did_you_mean(word.lower().removeprefix(prefix.lower()), names, otherwise, most=3)}"


def result_text(value: int | None, pointer: str | None, *, returned: bool = True) -> str:
    """A call's result: ``-EPERM``, ``0``, ``valid`` or ``NULL`` of a pointer; empty of a function without a result."""
    if pointer is not None:
        return pointer
    if not returned:
        return "return not seen"
    if value is None:
        return ""
    return f"-{errno_name(-value)}" if value < 0 else str(value)
