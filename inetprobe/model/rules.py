"""The kernel's decisions on the way from socket(2) to a new sock, each a rule with its source and its sentence."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

#: Where on its way a socket(2) was refused, in the kernel's order.
Stage = Literal["seccomp", "arguments", "family", "security", "inode", "create", "post_create", "descriptor"]

_SOCKET = "net/socket.c"
_INET = "net/ipv4/af_inet.c inet_create(), net/ipv6/af_inet6.c inet6_create()"
_SOCK = "net/core/sock.c sk_prot_alloc()"
_PACKET = "net/packet/af_packet.c packet_create()"
_OTHERS = f"net/unix/af_unix.c unix_create(), net/netlink/af_netlink.c netlink_create(), {_PACKET}"
_NULL = (
    "sk_prot_alloc returns the same NULL where there is no memory for the sock, where a security module has none for "
    "its own part, and where the protocol's module is being removed"
)

_LSM = "a security module may answer with the same errno, and was not looked at"


class Rule(StrEnum):
    """The rule that decided the outcome of one socket(); as a string it is the name that JSON has for it.

    - ``stage``: where it refuses a socket; None if it does not.
    - ``errnos``: their names; empty if it may be any.
    - ``source``: the kernel's file and function.
    - ``sentence``: the rule in general, without a full stop; ``model.explanation`` puts the request and the machine
      into it.
    - ``alike``: where a trace cannot show this rule alone, a clause that says which others look the same; else empty.

    The members are in the order in which the kernel comes to them.
    """

    stage: Stage | None
    errnos: tuple[str, ...]
    source: str
    sentence: str
    alike: str

    def __new__(
        cls, name: str, stage: Stage | None, errnos: tuple[str, ...], source: str, sentence: str, alike: str = ""
    ) -> Rule:
        """A member from the tuple that defines it."""
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.stage = stage
        rule.errnos = errnos
        rule.source = source
        rule.sentence = sentence
        rule.alike = alike
        return rule

    SECCOMP = (
        "seccomp",
        "seccomp",
        (),
        "kernel/seccomp.c __seccomp_filter()",
        "a seccomp filter of the caller refuses the system call",
    )
    FLAGS = (
        "flags",
        "arguments",
        ("EINVAL",),
        f"{_SOCKET} __sys_socket()",
        "the type has another flag than SOCK_CLOEXEC and SOCK_NONBLOCK",
    )
    FAULT = (
        "fault",
        "arguments",
        ("EFAULT",),
        f"{_SOCKET} __sys_socketpair()",
        "the array that the two descriptors are to be written to is not the caller's memory",
    )
    FAMILY = (
        "family",
        "family",
        ("EAFNOSUPPORT",),
        f"{_SOCKET} __sock_create()",
        "the address family does not exist",
    )
    TYPE_RANGE = (
        "type-range",
        "arguments",
        ("EINVAL",),
        f"{_SOCKET} __sock_create()",
        "the socket type does not exist, the last is SOCK_PACKET (10)",
    )
    IPV6_DISABLED = (
        "ipv6-disabled",
        "family",
        ("EAFNOSUPPORT",),
        "net/ipv6/af_inet6.c inet6_init(), net/socket.c __sock_create()",
        "IPv6 is switched off for this kernel (ipv6.disable=1): it has no address family AF_INET6",
    )
    SECURITY = (
        "security",
        "security",
        (),
        "security/security.c security_socket_create()",
        "a security module refused the socket",
    )
    INODE = (
        "inode",
        "inode",
        ("ENFILE",),
        f"{_SOCKET} sock_alloc()",
        "there was no memory for the socket's inode",
        _LSM,
    )
    NO_FAMILY = (
        "no-family",
        "family",
        ("EAFNOSUPPORT",),
        f"{_SOCKET} __sock_create()",
        "this kernel has the address family neither built in nor as a module that it could load",
        _LSM,
    )
    FAMILY_CREATE = (
        "family-create",
        "create",
        (),
        f"{_SOCKET} __sock_create(), {_OTHERS}",
        "the address family's own code refused the socket",
        _LSM,
    )
    PACKET_CAP_NET_RAW = (
        "packet-cap-net-raw",
        "create",
        ("EPERM",),
        _PACKET,
        "AF_PACKET, which socket(AF_INET, SOCK_PACKET) means too, needs CAP_NET_RAW in the user namespace that owns "
        "the net namespace, and the caller lacks it",
    )
    PACKET = (
        "packet",
        None,
        (),
        _PACKET,
        "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create is not reached",
    )
    PROTOCOL_RANGE = (
        "protocol-range",
        "create",
        ("EINVAL",),
        _INET,
        "the protocol is outside 0 to IPPROTO_MAX - 1",
    )
    TYPE = (
        "type",
        "create",
        ("ESOCKTNOSUPPORT",),
        _INET,
        "nothing is registered for the socket type in the address family",
    )
    PROTOCOL = (
        "protocol",
        "create",
        ("EPROTONOSUPPORT",),
        _INET,
        "the protocol is not registered for the socket type",
    )
    CAP_NET_RAW = (
        "cap-net-raw",
        "create",
        ("EPERM",),
        _INET,
        "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks",
    )
    CAP_NET_RAW_DENIED = (
        "cap-net-raw-denied",
        "create",
        ("EPERM",),
        "security/security.c security_capable()",
        "a security module denied the caller's CAP_NET_RAW, most likely",
        "a capability dropped between the check and the look at it would look the same",
    )
    NETNS = (
        "netns",
        "create",
        ("EAFNOSUPPORT",),
        "net/ipv4/af_inet.c inet_netns_ok()",
        "the protocol does not work outside the initial net namespace on this kernel",
    )
    ALLOC_MEMORY = (
        "alloc-memory",
        "create",
        ("ENOMEM", "ENOBUFS"),
        _SOCK,
        "there was no memory for the sock",
        _NULL,
    )
    ALLOC_SECURITY = (
        "alloc-security",
        "create",
        ("ENOMEM", "ENOBUFS"),
        _SOCK,
        "a security module's sk_alloc hook found no memory",
        _NULL,
    )
    ALLOC_MODULE = (
        "alloc-module",
        "create",
        ("ENOMEM", "ENOBUFS"),
        _SOCK,
        "the protocol's module is being removed",
        _NULL,
    )
    HASH = (
        "hash",
        "create",
        (),
        _INET,
        "the protocol's hash function refused the socket",
    )
    PING_GROUP = (
        "ping-group",
        "create",
        ("EACCES",),
        "net/ipv4/ping.c ping_init_sock()",
        "none of the caller's groups is in net.ipv4.ping_group_range",
    )
    MPTCP_DISABLED = (
        "mptcp-disabled",
        "create",
        ("ENOPROTOOPT",),
        "net/mptcp/protocol.c mptcp_init_sock()",
        "MPTCP is switched off in this net namespace (net.mptcp.enabled)",
    )
    INIT = (
        "init",
        "create",
        (),
        _INET,
        "the protocol's init function failed",
    )
    NESTED = (
        "nested",
        "create",
        (),
        "net/mptcp/subflow.c mptcp_subflow_create_socket(), net/smc/af_smc.c smc_create_clcsk()",
        "the TCP socket that the protocol makes for itself failed",
    )
    CGROUP = (
        "cgroup",
        "create",
        (),
        _INET,
        "a BPF program of the caller's cgroup (sock_create) refused the socket",
        "nothing else refuses after sk_alloc; the program itself was not seen",
    )
    POST_CREATE = (
        "post-create",
        "post_create",
        (),
        f"security/security.c security_socket_post_create(), {_SOCKET} __sock_create()",
        "a security module refused the socket once it was made",
        "the protocol's module that goes at this very moment ends it with EAFNOSUPPORT",
    )
    NO_PAIR = (
        "no-pair",
        "post_create",
        ("EOPNOTSUPP",),
        f"{_SOCKET} __sys_socketpair(), net/core/sock.c sock_no_socketpair()",
        "the address family's sockets cannot be made in connected pairs",
    )
    DESCRIPTOR_LIMIT = (
        "descriptor-limit",
        "descriptor",
        ("EMFILE",),
        "fs/file.c alloc_fd()",
        "the process has as many descriptors as RLIMIT_NOFILE allows",
    )
    FILE_LIMIT = (
        "file-limit",
        "descriptor",
        ("ENFILE",),
        "fs/file_table.c alloc_empty_file()",
        "this machine has as many open files as fs.file-max allows",
    )
    FILE_MEMORY = (
        "file-memory",
        "descriptor",
        ("ENOMEM",),
        f"{_SOCKET} sock_alloc_file()",
        "there was no memory for the socket's file",
    )
    CREATED = (
        "created",
        None,
        (),
        f"{_INET}, {_OTHERS}",
        "every check passed",
    )
