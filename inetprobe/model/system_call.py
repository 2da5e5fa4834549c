"""A real system call judged whole: its create by ``judge``, and what refused it before a create or after one.

Of a call that came to no create only the arguments and the errno are seen: the kernel's order (``sock_create`` of
``sys_socket``) leaves one rule, or the likeliest of a few, and the explanation says which others look the same.
"""

from __future__ import annotations

from typing import NamedTuple

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_MCTP,
    AF_PACKET,
    SOCK_PACKET,
    SOCK_TYPE_MASK,
)
from inetprobe.model.explanation import Explanation, Request, explain
from inetprobe.model.inet_create import CREATE, Outcome, PredictedCall
from inetprobe.model.judge import AS_PREDICTED, Seen, Verdict, judge
from inetprobe.model.lsm import Refusal
from inetprobe.model.profile import Profile
from inetprobe.model.rules import Rule
from inetprobe.model.sys_socket import DESCRIPTOR_RULES, NPROTO, SOCK_MAX, has_unknown_flag


class SeenSyscall(NamedTuple):
    """``syscall`` is ``socket``, ``socketpair`` or ``io_uring``; ``type`` is as given, with its flags; ``errno`` is the
    caller's, None for success. ``create`` is the trace of the create, None where the call came to none; ``calls`` are
    the other calls of __request_module. ``descriptor_limit`` is RLIMIT_NOFILE, None where it is not known. ``refusal``
    is that of a security module whose function was traced."""

    syscall: str
    family: int
    type: int
    protocol: int
    errno: str | None
    create: Seen | None
    calls: tuple[PredictedCall, ...] = ()
    descriptor_limit: int | None = None
    refusal: Refusal | None = None

    @property
    def is_inet(self) -> bool:
        """Is inet_create or inet6_create to make the socket?"""
        return self.family in CREATE and (self.family, self.type & SOCK_TYPE_MASK) != (AF_INET, SOCK_PACKET)


def judge_syscall(seen: SeenSyscall, profile: Profile) -> Verdict:
    """The verdict on one complete trace of a system call."""
    if seen.create is not None:
        return _with_create(seen, seen.create, profile)
    rule = None if seen.errno is None else rule_before_create(seen, ipv6_disabled=profile.ipv6_disabled)
    if seen.is_inet and rule in (None, Rule.SECURITY, Rule.INODE) and not _is_traced(CREATE[seen.family], profile):
        return Verdict("unmodelled", None, Explanation(f"{CREATE[seen.family]} cannot be traced on this kernel"))
    if seen.errno is None:
        if seen.is_inet:
            return Verdict("deviation", None, Explanation(f"expected a call of {CREATE[seen.family]}, saw none"))
        return Verdict("unmodelled", None, Explanation("neither inet_create nor inet6_create made this socket"))
    if rule is None:
        return Verdict("deviation", None, Explanation(f"expected another errno than {seen.errno} for these arguments"))
    why = _explained(seen, rule, profile)
    if seen.is_inet and rule.stage not in ("arguments", "descriptor"):
        why = why._replace(evidence=(f"the call did not come to {CREATE[seen.family]}", *why.evidence))
    return Verdict(AS_PREDICTED, rule, why)


def refused_by_seccomp(seen: SeenSyscall, profile: Profile) -> Verdict:
    """The verdict on a call that a seccomp filter was seen to refuse: kernel/seccomp.c __seccomp_filter()."""
    return Verdict(AS_PREDICTED, Rule.SECCOMP, _explained(seen, Rule.SECCOMP, profile))


def rule_before_create(seen: SeenSyscall, *, ipv6_disabled: bool | None = False) -> Rule | None:
    """The rule by which a call failed that came to neither inet_create nor inet6_create; None where none has its errno.

    net/socket.c __sys_socket(), __sys_socketpair(), __sock_create().
    """
    type_ = seen.type & SOCK_TYPE_MASK
    by_arguments = None
    if has_unknown_flag(seen.type):
        by_arguments = Rule.FLAGS
    elif seen.syscall == "socketpair" and seen.errno in _PAIR_FIRST:
        return _PAIR_FIRST[seen.errno]
    elif not 0 <= seen.family < NPROTO:
        by_arguments = Rule.FAMILY
    elif type_ >= SOCK_MAX:
        # Before Linux 5.15 AF_MAX was AF_MCTP: that family was refused before the type was looked at.
        before = seen.family == AF_MCTP and seen.errno == "EAFNOSUPPORT"
        by_arguments = Rule.FAMILY if before else Rule.TYPE_RANGE
    if by_arguments is not None:
        return by_arguments if seen.errno in by_arguments.errnos else None
    if seen.refusal is not None:
        return seen.refusal.rule
    if seen.errno == "EAFNOSUPPORT":
        return Rule.IPV6_DISABLED if seen.family == AF_INET6 and ipv6_disabled else Rule.NO_FAMILY
    if seen.is_inet:
        return Rule.INODE if seen.errno == "ENFILE" else Rule.SECURITY
    if seen.errno == "EPERM" and seen.family in (AF_INET, AF_PACKET):
        return Rule.PACKET_CAP_NET_RAW
    after = rule_after_create(seen)
    return after if after in (Rule.DESCRIPTOR_LIMIT, Rule.FILE_LIMIT, Rule.NO_PAIR) else Rule.FAMILY_CREATE


# A pair's descriptors are made, and written to the caller's array, before its sockets.
_PAIR_FIRST = {"EMFILE": Rule.DESCRIPTOR_LIMIT, "EFAULT": Rule.FAULT}


def rule_after_create(seen: SeenSyscall) -> Rule:
    """The rule by which a call failed whose sock was made: net/socket.c __sock_create(), sock_map_fd()."""
    if seen.syscall == "socketpair" and seen.errno == "EOPNOTSUPP":
        return Rule.NO_PAIR
    if seen.refusal is not None:
        return seen.refusal.rule
    return DESCRIPTOR_RULES.get(seen.errno or "", Rule.POST_CREATE)


def _is_traced(create: str, profile: Profile) -> bool:
    return profile.features.inet_create if create == "inet_create" else profile.features.inet6_create


def _with_create(seen: SeenSyscall, create: Seen, profile: Profile) -> Verdict:
    verdict = judge(create, profile)
    if verdict.verdict != AS_PREDICTED or seen.errno == create.errno:
        return verdict
    if create.errno is not None:
        ended = f"failed with {seen.errno}" if seen.errno else "succeeded"
        return Verdict(
            "deviation", None, Explanation(f"{CREATE[create.family]} failed with {create.errno}, and the call {ended}")
        )
    rule = rule_after_create(seen)
    why = _explained(seen, rule, profile)
    undone = f"{CREATE[create.family]} had made the sock, which the kernel then took back"
    return Verdict(AS_PREDICTED, rule, why._replace(evidence=(undone, *why.evidence)))


def _explained(seen: SeenSyscall, rule: Rule, profile: Profile) -> Explanation:
    request = Request(
        seen.family,
        seen.type & SOCK_TYPE_MASK,
        seen.protocol,
        profile,
        seen=True,
        descriptor_limit=seen.descriptor_limit,
        refusal=seen.refusal,
        syscall=seen.syscall,
    )
    return explain(request, Outcome(rule, seen.errno, calls=seen.calls))
