"""Examples of each rule: requests that it decides, and how they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from errno import EAFNOSUPPORT
from typing import NamedTuple

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_MPTCP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_STREAM,
)
from inetprobe.model.caller import Caller
from inetprobe.model.explanation import Explanation, Request, explain
from inetprobe.model.inet_create import Outcome, PredictedCall
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule
from inetprobe.model.question import SocketQuestion
from inetprobe.model.rules import Rule
from inetprobe.model.seccomp import Action, Instruction
from inetprobe.model.world import LOADED, NOT_FOUND

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
_UNIX, _NFC = 1, 39
_BLACKLISTED_NFC = FamilyModule(
    "nfc",
    '"blacklist nfc" (/etc/modprobe.d/nfc.conf:1) stands in the way',
    "remove line 1 of /etc/modprobe.d/nfc.conf, or modprobe nfc",
)
# Where a socket of AF_NFC finds no code, and the result of __request_module(), None where there are no modules.
_WITHOUT_NFC = (
    (replace(_6_1, families={"net-pf-39": _BLACKLISTED_NFC}), LOADED),
    (replace(_6_1, families={}), NOT_FOUND),
    (replace(_LOCKED, families={"net-pf-39": FamilyModule("nfc")}), NOT_FOUND),
    (_WITHOUT_MODULES, None),
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
    Rule.FAMILY: (SocketQuestion(_6_1, 99, SOCK_STREAM, 0),),
    Rule.TYPE_RANGE: (SocketQuestion(_6_1, AF_INET, 11, 0),),
    Rule.IPV6_DISABLED: (SocketQuestion(replace(_6_1, ipv6_disabled=True), AF_INET6, SOCK_DGRAM, 0),),
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
    Rule.CREATED: (SocketQuestion(_6_1, *_TCP),),
}


#: The errnos of calls that are refused outside a create, by what no machine of the model's has.
OUTSIDE = {
    Rule.SECURITY: "EACCES",
    Rule.INODE: "ENFILE",
    Rule.NO_FAMILY: "EAFNOSUPPORT",
    Rule.FAMILY_CREATE: "EPROTONOSUPPORT",
    Rule.POST_CREATE: "EACCES",
    Rule.FAULT: "EFAULT",
    Rule.NO_PAIR: "EOPNOTSUPP",
    Rule.DESCRIPTOR_LIMIT: "EMFILE",
    Rule.FILE_LIMIT: "ENFILE",
    Rule.FILE_MEMORY: "ENOMEM",
}


class RuleExample(NamedTuple):
    """``question`` ended in ``outcome``, as the trace of a machine would show it."""

    question: SocketQuestion
    outcome: Outcome
    syscall: str = "socket"

    @property
    def why(self) -> Explanation:
        """As a verdict on that trace would say it."""
        profile, family, type_, protocol, *_, caller = self.question
        of_create = self.outcome.rule not in OUTSIDE
        return explain(Request(family, type_, protocol, profile, of_create, caller), self.outcome)


def examples(rule: Rule) -> Iterator[RuleExample]:
    """The examples of a rule, at least one."""
    if rule is Rule.NO_FAMILY:
        for profile, result in _WITHOUT_NFC:
            call = PredictedCall("__request_module", 1, result, None, f"net-pf-{_NFC}")
            outcome = Outcome(rule, OUTSIDE[rule], calls=() if result is None else (call,))
            yield RuleExample(SocketQuestion(profile, _NFC, SOCK_STREAM, 0), outcome)
        return
    if rule in OUTSIDE:
        family = _UNIX if rule is Rule.FAMILY_CREATE else AF_INET
        question = SocketQuestion(_6_1, family, SOCK_STREAM, 0)
        syscall = "socketpair" if rule in (Rule.FAULT, Rule.NO_PAIR) else "socket"
        yield RuleExample(question, Outcome(rule, OUTSIDE[rule]), syscall)
        return
    for question in _QUESTIONS[rule]:
        outcome = question.answer()
        if rule is Rule.CAP_NET_RAW_DENIED:  # no machine of the model's has a security module
            outcome = outcome._replace(rule=rule)
        elif rule is Rule.NESTED:  # nor one that has memory for the first socket alone
            outcome = outcome._replace(rule=rule, errno="ENOMEM", nested=Rule.ALLOC_MEMORY)
        yield RuleExample(question, outcome)
