"""A system call judged whole: each rung outside a create, by the arguments and the errno that the caller got."""

from dataclasses import replace

import pytest

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_PACKET,
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_STREAM,
)
from inetprobe.model import sys_socket
from inetprobe.model.inet_create import PredictedCall
from inetprobe.model.judge import Seen
from inetprobe.model.lsm import HOOKS, Refusal
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.rules import Rule
from inetprobe.model.system_call import SeenSyscall, judge_syscall, refused_by_seccomp
from inetprobe.model.world import Machine

P61 = BUILT_IN_PROFILES["6.1"]
AF_VSOCK = 40


@pytest.mark.parametrize(
    ("request_", "errno", "rule", "stage"),
    [
        ((AF_INET, SOCK_STREAM | 0x100, 0), "EINVAL", Rule.FLAGS, "arguments"),
        ((77, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.FAMILY, "family"),
        ((-1, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.FAMILY, "family"),
        ((46, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.FAMILY, "family"),
        ((45, 11, 0), "EAFNOSUPPORT", Rule.FAMILY, "family"),
        ((45, 11, 0), "EINVAL", Rule.TYPE_RANGE, "arguments"),
        ((AF_INET, 11, 0), "EINVAL", Rule.TYPE_RANGE, "arguments"),
        ((AF_UNIX, 15, 0), "EINVAL", Rule.TYPE_RANGE, "arguments"),
        ((45, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.NO_FAMILY, "family"),
        ((AF_INET6, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.NO_FAMILY, "family"),
        ((AF_INET, SOCK_STREAM, 0), "EACCES", Rule.SECURITY, "security"),
        ((AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 6), "EPERM", Rule.SECURITY, "security"),
        ((AF_INET, SOCK_STREAM, 0), "EINVAL", Rule.SECURITY, "security"),
        ((AF_INET, SOCK_STREAM, 0), "ENFILE", Rule.INODE, "inode"),
        ((AF_UNIX, SOCK_STREAM, 5), "EPROTONOSUPPORT", Rule.FAMILY_CREATE, "create"),
        ((AF_UNIX, SOCK_STREAM, 0), "ENOMEM", Rule.FAMILY_CREATE, "create"),
        ((AF_PACKET, SOCK_RAW, 0), "EPERM", Rule.PACKET_CAP_NET_RAW, "create"),
        ((AF_INET, SOCK_PACKET, 0), "EPERM", Rule.PACKET_CAP_NET_RAW, "create"),
        ((AF_INET, SOCK_PACKET, 0), "EACCES", Rule.FAMILY_CREATE, "create"),
        ((AF_VSOCK, SOCK_STREAM, 0), "EPERM", Rule.FAMILY_CREATE, "create"),
        ((AF_UNIX, SOCK_STREAM, 0), "EMFILE", Rule.DESCRIPTOR_LIMIT, "descriptor"),
        ((AF_UNIX, SOCK_STREAM, 0), "ENFILE", Rule.FILE_LIMIT, "descriptor"),
    ],
)
def test_each_rung_before_a_create(request_, errno, rule, stage):
    verdict = judge_syscall(SeenSyscall("socket", *request_, errno, None), P61)
    assert (verdict.verdict, verdict.rule, verdict.stage) == ("as_predicted", rule, stage)
    assert verdict.why.fix
    # Where the arguments do not decide, the create that was not seen is a part of what is known.
    inferred = rule in (Rule.NO_FAMILY, Rule.SECURITY, Rule.INODE) and request_[0] in (AF_INET, AF_INET6)
    create = {AF_INET: "inet_create", AF_INET6: "inet6_create"}.get(request_[0])
    assert verdict.why.evidence == ((f"the call did not come to {create}",) if inferred else ())


def test_family_0_is_within_the_range():
    assert judge_syscall(SeenSyscall("socket", 0, SOCK_STREAM, 0, "EAFNOSUPPORT", None), P61).rule is Rule.NO_FAMILY


@pytest.mark.parametrize(
    ("request_", "errno", "rule"),
    [
        ((AF_INET, SOCK_STREAM | 0x100, 0), "EINVAL", Rule.FLAGS),
        ((77, SOCK_STREAM, 0), "EMFILE", Rule.DESCRIPTOR_LIMIT),
        ((77, SOCK_STREAM, 0), "EAFNOSUPPORT", Rule.FAMILY),
        ((AF_INET, SOCK_STREAM, 0), "EMFILE", Rule.DESCRIPTOR_LIMIT),
        ((AF_UNIX, SOCK_STREAM, 0), "EFAULT", Rule.FAULT),
        ((AF_INET, SOCK_STREAM | 0x100, 0), "EFAULT", None),
        ((AF_NETLINK, SOCK_RAW, 0), "EOPNOTSUPP", Rule.NO_PAIR),
        ((AF_INET, SOCK_STREAM, 0), "EACCES", Rule.SECURITY),
    ],
)
def test_a_pair_has_its_descriptors_first(request_, errno, rule):
    assert judge_syscall(SeenSyscall("socketpair", *request_, errno, None), P61).rule is rule


def test_a_pair_that_was_made_and_cannot_be_connected():
    call = SeenSyscall("socketpair", AF_INET, SOCK_RAW, 1, "EOPNOTSUPP", created())
    assert judge_syscall(call, P61).rule is Rule.NO_PAIR
    assert judge_syscall(call._replace(syscall="socket"), P61).rule is Rule.POST_CREATE
    assert judge_syscall(call._replace(errno="ENFILE"), P61).rule is Rule.FILE_LIMIT


def test_an_errno_that_the_arguments_do_not_give_is_a_deviation():
    for request, errno in (((77, 1, 0), "EPERM"), ((AF_INET, 11, 0), "EACCES"), ((AF_INET, 0x101, 0), "EPERM")):
        assert judge_syscall(SeenSyscall("socket", *request, errno, None), P61).verdict == "deviation"


def created(errno=None, **machine):
    outcome = sys_socket.socket(Machine(P61, **machine), AF_INET, SOCK_RAW, 1)
    return Seen(AF_INET, SOCK_RAW, 1, False, None, outcome.errno, outcome.prot, outcome.calls)


@pytest.mark.parametrize(
    ("errno", "rule", "stage"),
    [
        ("EMFILE", Rule.DESCRIPTOR_LIMIT, "descriptor"),
        ("ENFILE", Rule.FILE_LIMIT, "descriptor"),
        ("ENOMEM", Rule.FILE_MEMORY, "descriptor"),
        ("EACCES", Rule.POST_CREATE, "post_create"),
        ("EAFNOSUPPORT", Rule.POST_CREATE, "post_create"),
    ],
)
def test_each_rung_after_a_create(errno, rule, stage):
    verdict = judge_syscall(SeenSyscall("socket", AF_INET, SOCK_RAW, 1, errno, created()), P61)
    assert (verdict.verdict, verdict.rule, verdict.stage) == ("as_predicted", rule, stage)
    assert verdict.why.evidence[0] == "inet_create had made the sock, which the kernel then took back"


def test_a_create_s_own_refusal_is_the_system_call_s():
    refused = created(cap_net_raw=False)
    verdict = judge_syscall(SeenSyscall("socket", AF_INET, SOCK_RAW, 1, "EPERM", refused), P61)
    assert (verdict.verdict, verdict.rule) == ("as_predicted", Rule.CAP_NET_RAW)
    other = judge_syscall(SeenSyscall("socket", AF_INET, SOCK_RAW, 1, "EMFILE", refused), P61)
    assert other.why.reason == "inet_create failed with EPERM, and the call failed with EMFILE"


def test_a_success_has_a_create_or_is_another_family_s():
    assert judge_syscall(SeenSyscall("socket", AF_INET, SOCK_RAW, 1, None, created()), P61).rule is Rule.CREATED
    assert judge_syscall(SeenSyscall("socket", AF_INET, SOCK_RAW, 1, None, None), P61).verdict == "deviation"
    assert judge_syscall(SeenSyscall("socket", AF_UNIX, SOCK_STREAM, 0, None, None), P61).verdict == "unmodelled"


def test_ipv6_that_is_disabled_is_told_from_a_family_that_is_missing():
    disabled = replace(P61, ipv6_disabled=True)
    call = SeenSyscall("socket", AF_INET6, SOCK_STREAM, 0, "EAFNOSUPPORT", None)
    assert judge_syscall(call, disabled).rule is Rule.IPV6_DISABLED
    assert judge_syscall(call._replace(family=AF_VSOCK), disabled).rule is Rule.NO_FAMILY


@pytest.mark.parametrize("create", ["inet_create", "inet6_create"])
def test_where_the_create_cannot_be_traced_only_the_arguments_and_the_limits_are_known(create):
    blind = replace(P61, features=replace(P61.features, **{create: False}))
    mine, other = (AF_INET, AF_INET6) if create == "inet_create" else (AF_INET6, AF_INET)
    for errno in ("EPROTONOSUPPORT", "EACCES", "ENFILE", None):
        call = SeenSyscall("socket", mine, SOCK_STREAM, 0, errno, None)
        assert judge_syscall(call, blind).verdict == "unmodelled"
        assert judge_syscall(call, P61).verdict != "unmodelled"
    assert judge_syscall(SeenSyscall("socket", mine, SOCK_STREAM | 0x100, 0, "EINVAL", None), blind).rule is Rule.FLAGS
    assert judge_syscall(SeenSyscall("socket", other, SOCK_STREAM, 0, "EACCES", None), blind).rule is Rule.SECURITY


@pytest.mark.parametrize(
    ("function", "reason", "rule"),
    [
        ("apparmor_socket_create", "AppArmor refused the socket", Rule.SECURITY),
        ("selinux_socket_create", "SELinux refused the socket", Rule.SECURITY),
        ("smack_socket_post_create", "Smack refused the socket once it was made", Rule.POST_CREATE),
        ("bpf_lsm_socket_create", "a BPF LSM program refused the socket", Rule.SECURITY),
    ],
)
def test_a_security_module_that_was_seen_is_named(function, reason, rule):
    refusal = Refusal(function, "EACCES")
    for family in AF_INET, AF_UNIX:  # of AF_UNIX the errno alone does not tell
        call = SeenSyscall("socket", family, SOCK_STREAM, 0, "EACCES", None, refusal=refusal)
        verdict = judge_syscall(call, P61)
        assert (verdict.rule, verdict.why.reason) == (rule, reason)
        assert f"{function} returned EACCES" in verdict.why.evidence
        (fix,) = verdict.why.fix
        assert fix.effect == ("weakens" if "BPF" in reason else "widens")
    made = judge_syscall(call._replace(family=AF_INET, create=created()), P61)  # the second socket of a pair
    assert made.rule is rule
    assert function in HOOKS


@pytest.mark.parametrize(
    ("active", "reason", "fixes"),
    [
        (("lockdown", "yama", "apparmor", "landlock"), "AppArmor refused the socket", ("journalctl",)),
        (("selinux", "smack"), "SELinux refused the socket", ("ausearch",)),
        (("bpf", "bpf"), "a BPF LSM program refused the socket", ("bpftool",)),
        (("apparmor", "bpf"), "a security module refused the socket: AppArmor or a BPF LSM program",
         ("journalctl", "bpftool")),
        (("lockdown", "smack"), "a security module refused the socket", ("ausearch",)),
        (("vendor", "other"), "a security module refused the socket: another security module", ("ausearch",)),
        (("apparmor", "x"), "a security module refused the socket: AppArmor or another security module",
         ("journalctl", "ausearch")),
        (None, "a security module refused the socket", ("ausearch",)),
    ],
)  # fmt: skip
def test_the_only_active_security_module_is_the_one_that_refused(active, reason, fixes):
    profile = replace(P61, security_modules=active)
    why = judge_syscall(SeenSyscall("socket", AF_INET, SOCK_STREAM, 0, "EACCES", None), profile).why
    assert why.reason == reason
    is_alone = any("no other security module" in clause for clause in why.evidence)
    assert is_alone == (not reason.startswith("a security module"))
    assert tuple(fix.do.split()[0] for fix in why.fix) == fixes


def test_afterwards_the_active_security_modules_are_candidates():
    profile = replace(P61, security_modules=("lockdown", "smack"))
    why = judge_syscall(SeenSyscall("socket", AF_INET, SOCK_STREAM, 0, "EACCES", created()), profile).why
    assert why.reason.startswith("a security module refused the socket once it was made: Smack; the protocol's module")


def test_arguments_that_decide_are_not_a_module_s_refusal():
    refusal = Refusal("apparmor_socket_create", "EACCES")
    call = SeenSyscall("socket", AF_INET, SOCK_STREAM | 0x100, 0, "EINVAL", None, refusal=refusal)
    assert judge_syscall(call, P61).rule is Rule.FLAGS


@pytest.mark.parametrize(
    ("family", "type_", "protocol", "errno", "reason"),
    [
        (AF_UNIX, SOCK_STREAM, 77, "EPROTONOSUPPORT", "AF_UNIX takes protocol 0 or 1 (PF_UNIX)"),
        (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 77, "EPROTONOSUPPORT", "AF_UNIX takes protocol 0 or 1 (PF_UNIX)"),
        (AF_NETLINK, SOCK_STREAM, 0, "ESOCKTNOSUPPORT", "AF_NETLINK has no sockets of SOCK_STREAM"),
        (AF_NETLINK, SOCK_RAW, 31, "EPROTONOSUPPORT", "AF_NETLINK's own code refused the socket; a security module may "
         "answer with the same errno, and was not looked at"),
        (AF_UNIX, SOCK_STREAM, 0, "EPROTONOSUPPORT", "AF_UNIX's own code refused the socket; a security module may "
         "answer with the same errno, and was not looked at"),
    ],
)  # fmt: skip
def test_a_family_s_own_refusal_is_certain_where_its_arguments_decide(family, type_, protocol, errno, reason):
    verdict = judge_syscall(SeenSyscall("socket", family, type_, protocol, errno, None), P61)
    assert (verdict.rule, verdict.why.reason) == (Rule.FAMILY_CREATE, reason)


def test_a_family_that_came_as_a_module_may_still_refuse():
    request = PredictedCall("__request_module", 1, 0, None, "net-pf-29")
    seen = SeenSyscall("socket", 29, SOCK_STREAM, 0, "ESOCKTNOSUPPORT", None, (request,))
    verdict = judge_syscall(seen, P61)
    assert (verdict.rule, verdict.why.evidence) == (Rule.FAMILY_CREATE, ())


def test_limits_are_told_with_their_values():
    call = SeenSyscall("socket", AF_UNIX, SOCK_STREAM, 0, "EMFILE", None, descriptor_limit=524_288)
    assert judge_syscall(call, P61).why.evidence == ("RLIMIT_NOFILE was 524,288",)
    assert judge_syscall(call._replace(descriptor_limit=None), P61).why.evidence == ()
    files = call._replace(errno="ENFILE")
    assert judge_syscall(files, P61).why.evidence == ()
    assert judge_syscall(files, replace(P61, file_max=9_000)).why.evidence == (
        "fs.file-max was 9,000 when this machine was looked at",
    )


@pytest.mark.parametrize(
    ("errno", "reason"),
    [
        ("EPERM", "a seccomp filter, or the supervisor or tracer that it asks, refuses the call with EPERM"),
        ("SIGSYS", "a seccomp filter sends SIGSYS to the thread in the place of the call"),
    ],
)
def test_a_filter_that_was_seen_to_refuse(errno, reason):
    verdict = refused_by_seccomp(SeenSyscall("socket", AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0, errno, None), P61)
    assert (verdict.verdict, verdict.stage, verdict.why.reason) == ("as_predicted", "seccomp", reason)
    (fix,) = verdict.why.fix
    assert fix.do.startswith("inetprobe explain 'socket(AF_VSOCK, SOCK_STREAM, 0)' --pid PID")


def test_the_strict_mode_is_no_filter():
    verdict = refused_by_seccomp(SeenSyscall("socket", AF_INET, SOCK_STREAM, 0, "SIGKILL", None), P61)
    assert verdict.why.reason.startswith("seccomp's strict mode")
    assert verdict.why.fix[0].do.startswith("make the socket before")


def test_a_pair_that_a_filter_refuses_is_asked_about_as_a_pair():
    verdict = refused_by_seccomp(SeenSyscall("socketpair", AF_VSOCK, SOCK_STREAM, 0, "EPERM", None), P61)
    assert verdict.why.fix[0].do.startswith("inetprobe explain 'socketpair(AF_VSOCK, SOCK_STREAM, 0)' --pid PID")
