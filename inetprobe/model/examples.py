"""Examples of each rule: requests that it decides, and how they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from errno import EAFNOSUPPORT
from typing import NamedTuple

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNIX,
    IPPROTO_ICMP,
    IPPROTO_MPTCP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_RDM,
    SOCK_STREAM,
)
from inetprobe.model.caller import Caller
from inetprobe.model.explanation import Explanation
from inetprobe.model.inet_create import Outcome
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule
from inetprobe.model.question import SocketQuestion
from inetprobe.model.rules import Rule
from inetprobe.model.seccomp import Action, Instruction

_TCP = AF_INET, SOCK_STREAM, IPPROTO_TCP
_SCTP = AF_INET, SOCK_STREAM, IPPROTO_SCTP
_6_1, _3 = BUILT_IN_PROFILES["6.1"], BUILT_IN_PROFILES["3.x"]
_BLACKLISTED = replace(
    _6_1,
    loadable=(),
    blocked={"sctp": '"blacklist sctp" (/etc/modprobe.d/sctp.conf:1) stands in the way'},
    remedies={"sctp": "remove line 1 of /etc/modprobe.d/sctp.conf, or modprobe sctp"},
    left_alone=("sctp",),
)
_WITHOUT_MODULES = replace(_6_1, loadable=(), features=replace(_6_1.features, request_module=False))
_LOCKED = replace(_6_1, modules_disabled=True)
_NFC, _VSOCK = 39, 40
_BLACKLISTED_NFC = FamilyModule(
    "nfc",
    '"blacklist nfc" (/etc/modprobe.d/nfc.conf:1) stands in the way',
    "remove line 1 of /etc/modprobe.d/nfc.conf, or modprobe nfc",
)
# Where a socket of AF_NFC finds no code.
_WITHOUT_NFC = (
    replace(_6_1, families={"net-pf-39": _BLACKLISTED_NFC}),
    replace(_6_1, families={}),
    replace(_LOCKED, families={"net-pf-39": FamilyModule("nfc")}),
    _WITHOUT_MODULES,
)
# Its filter, of one instruction: BPF_RET | BPF_K, SECCOMP_RET_ERRNO.
_SANDBOXED = Caller(
    4711,
    "nginx",
    "/system.slice/nginx.service",
    False,
    frozenset(),
    ((Instruction(0x06, 0, 0, Action.ERRNO | EAFNOSUPPORT),),),
    "x86_64",
)
_QUESTIONS: Mapping[Rule, tuple[SocketQuestion, ...]] = {
    Rule.SECCOMP: (SocketQuestion(_6_1, AF_INET6, SOCK_STREAM, 0, caller=_SANDBOXED),),
    Rule.FLAGS: (SocketQuestion(_6_1, AF_INET, SOCK_STREAM | 0x100, 0),),
    Rule.FAULT: (SocketQuestion(_6_1, AF_UNIX, SOCK_STREAM, 0, failures={"array": "EFAULT"}, syscall="socketpair"),),
    Rule.FAMILY: (SocketQuestion(_6_1, 99, SOCK_STREAM, 0),),
    Rule.TYPE_RANGE: (SocketQuestion(_6_1, AF_INET, 11, 0),),
    Rule.IPV6_DISABLED: (SocketQuestion(replace(_6_1, ipv6_disabled=True), AF_INET6, SOCK_DGRAM, 0),),
    Rule.SECURITY: (SocketQuestion(_6_1, *_TCP, failures={"security": "EACCES"}),),
    Rule.INODE: (SocketQuestion(_6_1, *_TCP, failures={"inode": "ENFILE"}),),
    Rule.NO_FAMILY: tuple(SocketQuestion(profile, _NFC, SOCK_STREAM, 0) for profile in _WITHOUT_NFC),
    Rule.FAMILY_CREATE: (
        SocketQuestion(_6_1, AF_UNIX, SOCK_RDM, 0),
        SocketQuestion(_6_1, AF_UNIX, SOCK_STREAM, IPPROTO_TCP),
        SocketQuestion(_6_1, AF_NETLINK, SOCK_RAW, 32),
        SocketQuestion(replace(_6_1, registered=(_VSOCK,)), _VSOCK, SOCK_STREAM, IPPROTO_TCP),
    ),
    Rule.PACKET_CAP_NET_RAW: (SocketQuestion(_6_1, AF_INET, SOCK_PACKET, 0, cap_net_raw=False),),
    Rule.PACKET: (SocketQuestion(_6_1, AF_INET, SOCK_PACKET, 0),),
    Rule.PROTOCOL_RANGE: (SocketQuestion(_6_1, AF_INET, SOCK_STREAM, 263),),
    Rule.TYPE: (SocketQuestion(_6_1, AF_INET, 0, 0),),
    Rule.PROTOCOL: (
        SocketQuestion(_6_1, AF_INET, SOCK_STREAM, IPPROTO_UDP),
        SocketQuestion(_6_1, *_SCTP, loadable=()),
        SocketQuestion(_BLACKLISTED, *_SCTP),
        SocketQuestion(_LOCKED, *_SCTP),
        SocketQuestion(_WITHOUT_MODULES, *_SCTP),
        SocketQuestion(_6_1, AF_INET, SOCK_RAW, 0),
    ),
    Rule.CAP_NET_RAW: (SocketQuestion(_6_1, AF_INET, SOCK_RAW, IPPROTO_ICMP, cap_net_raw=False),),
    Rule.CAP_NET_RAW_DENIED: (SocketQuestion(_6_1, AF_INET, SOCK_RAW, IPPROTO_ICMP, cap_net_raw=False),),
    Rule.NETNS: (SocketQuestion(_3, *_SCTP, initial_netns=False),),
    Rule.ALLOC_MEMORY: (SocketQuestion(_6_1, *_TCP, failures={"alloc": "memory"}),),
    Rule.ALLOC_SECURITY: (SocketQuestion(_6_1, *_TCP, failures={"alloc": "security"}),),
    Rule.ALLOC_MODULE: (SocketQuestion(_6_1, *_SCTP, failures={"alloc": "module"}),),
    Rule.HASH: (SocketQuestion(_6_1, AF_INET, SOCK_RAW, IPPROTO_ICMP, failures={"hash": "EINVAL"}),),
    Rule.PING_GROUP: (SocketQuestion(_6_1, AF_INET, SOCK_DGRAM, IPPROTO_ICMP),),
    Rule.MPTCP_DISABLED: (SocketQuestion(_6_1, AF_INET, SOCK_STREAM, IPPROTO_MPTCP, mptcp_enabled=False),),
    Rule.INIT: (SocketQuestion(_6_1, *_TCP, failures={"init": "ENOBUFS"}),),
    Rule.NESTED: (SocketQuestion(_6_1, AF_INET, SOCK_STREAM, IPPROTO_MPTCP),),
    Rule.CGROUP: (SocketQuestion(_6_1, *_TCP, failures={"cgroup": "EPERM"}),),
    Rule.POST_CREATE: (SocketQuestion(_6_1, *_TCP, failures={"post_create": "EACCES"}),),
    Rule.NO_PAIR: (SocketQuestion(_6_1, AF_INET, SOCK_STREAM, 0, syscall="socketpair"),),
    Rule.DESCRIPTOR_LIMIT: (SocketQuestion(_6_1, *_TCP, failures={"descriptor": "EMFILE"}),),
    Rule.FILE_LIMIT: (SocketQuestion(_6_1, *_TCP, failures={"descriptor": "ENFILE"}),),
    Rule.FILE_MEMORY: (SocketQuestion(_6_1, *_TCP, failures={"descriptor": "ENOMEM"}),),
    Rule.CREATED: (SocketQuestion(_6_1, *_TCP), SocketQuestion(_6_1, AF_UNIX, SOCK_STREAM, 0, syscall="socketpair")),
}


class RuleExample(NamedTuple):
    """``question`` ended in ``outcome``, as the trace of a machine would show it."""

    question: SocketQuestion
    outcome: Outcome

    @property
    def why(self) -> Explanation:
        """As a verdict on that trace would say it."""
        return self.question.explain(self.outcome, seen=True)


def examples(rule: Rule) -> Iterator[RuleExample]:
    """The examples of a rule, at least one."""
    for question in _QUESTIONS[rule]:
        outcome = question.answer()
        if rule is Rule.CAP_NET_RAW_DENIED:  # no machine of the model's has a security module
            outcome = outcome._replace(rule=rule)
        elif rule is Rule.NESTED:  # nor one that has memory for the first socket alone
            outcome = outcome._replace(rule=rule, errno="ENOMEM", nested=Rule.ALLOC_MEMORY)
        elif outcome.word == "unknown":  # nor another family's own code
            outcome = outcome._replace(errno="EPROTONOSUPPORT")
        yield RuleExample(question, outcome)
