"""The kernel's decisions on the way from socket(2) to a new sock, each a rule with its source and its sentence."""

from __future__ import annotations

from enum import StrEnum

_SOCKET = "net/socket.c"
_INET = "net/ipv4/af_inet.c inet_create(), net/ipv6/af_inet6.c inet6_create()"
_SOCK = "net/core/sock.c sk_prot_alloc()"
_PACKET = "net/packet/af_packet.c packet_create()"


class Rule(StrEnum):
    """The rule that decided the outcome of one socket(); as a string it is the name that JSON has for it.

    ``source`` is the kernel's file and function. ``sentence`` is the rule in general, without a full stop;
    ``model.reasons`` puts the request and the machine into it.

    The members are in the order in which the kernel comes to them.
    """

    source: str
    sentence: str

    def __new__(cls, name: str, source: str, sentence: str) -> Rule:
        """A member from the tuple that defines it."""
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.source = source
        rule.sentence = sentence
        return rule

    FLAGS = (
        "flags",
        f"{_SOCKET} __sys_socket()",
        "socket() takes no flags but SOCK_CLOEXEC and SOCK_NONBLOCK: inet_create was not reached",
    )
    FAMILY = (
        "family",
        f"{_SOCKET} __sock_create()",
        "the address family does not exist: inet_create was not reached",
    )
    TYPE_RANGE = (
        "type-range",
        f"{_SOCKET} __sock_create()",
        "the socket type does not exist, the last is SOCK_PACKET (10): inet_create was not reached",
    )
    PACKET_CAP_NET_RAW = (
        "packet-cap-net-raw",
        _PACKET,
        "socket(AF_INET, SOCK_PACKET) means AF_PACKET, which needs CAP_NET_RAW: inet_create was not reached; run it as "
        "root or give it cap_net_raw",
    )
    PACKET = (
        "packet",
        _PACKET,
        "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create was not reached",
    )
    PROTOCOL_RANGE = (
        "protocol-range",
        _INET,
        "the protocol is outside 0 to IPPROTO_MAX - 1",
    )
    TYPE = (
        "type",
        _INET,
        "nothing is registered for the socket type in the address family",
    )
    PROTOCOL = (
        "protocol",
        _INET,
        "the protocol is not registered for the socket type",
    )
    CAP_NET_RAW = (
        "cap-net-raw",
        _INET,
        "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks",
    )
    CAP_NET_RAW_DENIED = (
        "cap-net-raw-denied",
        "security/security.c security_capable()",
        "the caller's CAP_NET_RAW was refused before sk_alloc: consistent with a security module's denial, which was "
        "not observed: see the audit log",
    )
    NETNS = (
        "netns",
        "net/ipv4/af_inet.c inet_netns_ok()",
        "the protocol does not work outside the initial net namespace on this kernel",
    )
    ALLOC_MEMORY = (
        "alloc-memory",
        _SOCK,
        "sk_prot_alloc returned NULL: there was no memory for the sock: see the limits of its memory cgroup",
    )
    ALLOC_SECURITY = (
        "alloc-security",
        _SOCK,
        "sk_prot_alloc returned NULL: a security module's sk_alloc hook found no memory: see the audit log",
    )
    ALLOC_MODULE = (
        "alloc-module",
        _SOCK,
        "sk_prot_alloc returned NULL: the protocol's module is being removed: try again",
    )
    HASH = (
        "hash",
        _INET,
        "the protocol's hash function refused the socket",
    )
    PING_GROUP = (
        "ping-group",
        "net/ipv4/ping.c ping_init_sock()",
        "none of the caller's groups is in net.ipv4.ping_group_range",
    )
    MPTCP_DISABLED = (
        "mptcp-disabled",
        "net/mptcp/protocol.c mptcp_init_sock()",
        "MPTCP is switched off in this net namespace: sysctl net.mptcp.enabled=1",
    )
    INIT = (
        "init",
        _INET,
        "the protocol's init function failed",
    )
    NESTED = (
        "nested",
        "net/mptcp/subflow.c mptcp_subflow_create_socket(), net/smc/af_smc.c smc_create_clcsk()",
        "the TCP socket that the protocol makes for itself failed",
    )
    CGROUP = (
        "cgroup",
        _INET,
        "after sk_alloc only a BPF program of the caller's cgroup (sock_create) refuses a socket",
    )
    CREATED = (
        "created",
        _INET,
        "every check passed",
    )
