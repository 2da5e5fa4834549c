"""The sentence of each rule, word for word where the words depend on the request, the machine or the trace."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_L2TP,
    IPPROTO_MPTCP,
    IPPROTO_RAW,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_RDM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)
from inetprobe.model import inet_create
from inetprobe.model.judge import Seen, judge
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile
from inetprobe.model.reasons import Request, reason
from inetprobe.model.rules import Rule
from inetprobe.model.world import Machine

P61, P510, P72, P3X = (BUILT_IN_PROFILES[kernel] for kernel in ("6.1", "5.10", "7.2", "3.x"))

TCP = (AF_INET, SOCK_STREAM, 0)
SCTP = (AF_INET, SOCK_STREAM, IPPROTO_SCTP)
MPTCP = (AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
PING = (AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
RAW_ICMP = (AF_INET, SOCK_RAW, IPPROTO_ICMP)
UNREGISTERED = (AF_INET, SOCK_STREAM, 200)


def why(request, profile=P61, *, seen=False, results=None, **machine):
    """The reason; ``results``: those of __request_module(), in their order, instead of the machine's."""
    outcome = inet_create.socket(Machine(profile, **machine), *request)
    if results is not None:
        left = iter(results)
        calls = tuple(c if c.module is None else c._replace(result=next(left)) for c in outcome.calls)
        outcome = outcome._replace(calls=calls)
    return reason(Request(*request, profile, seen=seen), outcome)


ASKED = "; the kernel asked for net-pf-2-proto-200-type-1 and net-pf-2-proto-200, "
INSTEAD = ": SOCK_STREAM has IPPROTO_TCP and IPPROTO_MPTCP"


@pytest.mark.parametrize(
    ("results", "modprobe"),
    [
        ((256, 256), "modprobe found neither"),
        ((0, 0), "modprobe loaded both and neither registered it"),
        ((0, 256), "modprobe loaded a module for the first, which did not register it"),
        ((256, 0), "modprobe loaded a module for the second, which did not register it"),
        ((-2, -2), "but could not run modprobe: there is no such program, or autoloading is off "
                   "(/proc/sys/kernel/modprobe)"),
        ((-512, 256), "but could not run modprobe: 512"),
        ((256, -1), "but could not run modprobe: EPERM"),
        ((-62, -2), "but could not run modprobe: ETIME"),
        ((None, 256), "modprobe found neither"),
        ((None, None), "modprobe found neither"),
    ],
)  # fmt: skip
def test_module_requests(results, modprobe):
    sentence = why(UNREGISTERED, results=results)
    assert sentence == f"protocol 200 is not registered for SOCK_STREAM{ASKED}{modprobe}{INSTEAD}"


def test_kernel_without_modules_asks_for_none():
    profile = replace(P61, features=replace(P61.features, request_module=False))
    assert why(UNREGISTERED, profile) == f"protocol 200 is not registered for SOCK_STREAM{INSTEAD}"


class Remedy(NamedTuple):
    """``request`` fails, and its reason ends with ``remedy``."""

    remedy: str
    request: tuple[int, int, int]
    profile: Profile = P61
    machine: Mapping[str, Any] = MappingProxyType({})


@pytest.mark.parametrize(
    "case",
    [
        Remedy("install or unblacklist sctp", SCTP, machine={"loadable": ()}),
        Remedy("install or unblacklist smc", (AF_INET, SOCK_STREAM, IPPROTO_SMC)),
        Remedy("install or unblacklist dccp_ipv4", (AF_INET, SOCK_DCCP, IPPROTO_DCCP), P72),
        Remedy("modprobe sctp", (AF_INET, SOCK_SEQPACKET, 0), machine={"loadable": ()}),
        Remedy(
            "dccp_ipv4 is on this machine but no alias leads to it: modprobe dccp_ipv4",
            (AF_INET, SOCK_DCCP, IPPROTO_DCCP),
        ),
        Remedy("dccp_ipv6 is on this machine but no alias leads to it: modprobe dccp_ipv6", (AF_INET6, SOCK_DCCP, 0)),
        Remedy("this kernel (5.10) is built without mptcp", MPTCP, P510),
        Remedy("this kernel (7.2) is built without udplite", (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), P72),
        Remedy("IPPROTO_UDP (17) goes with SOCK_DGRAM", (AF_INET, SOCK_STREAM, IPPROTO_UDP)),
        Remedy("IPPROTO_TCP (6) goes with SOCK_STREAM", (AF_INET, 0, IPPROTO_TCP)),
        Remedy(
            "IPPROTO_SCTP (132) goes with SOCK_STREAM or SOCK_SEQPACKET",
            (AF_INET, SOCK_DGRAM, IPPROTO_SCTP),
        ),
        Remedy(
            "SOCK_DGRAM has IPPROTO_UDP, IPPROTO_ICMPV6 and IPPROTO_UDPLITE",
            (AF_INET6, SOCK_DGRAM, IPPROTO_ICMP),
        ),
        Remedy("SOCK_DGRAM has IPPROTO_UDP and IPPROTO_ICMP", (AF_INET, SOCK_DGRAM, 200), P72),
        Remedy("no module of Linux registers it: check the type and the protocol", (AF_INET, SOCK_RDM, 0)),
        Remedy("name the protocol, such as IPPROTO_ICMP", (AF_INET, SOCK_RAW, 0)),
    ],
    ids=lambda case: case.remedy,
)
def test_remedy(case):
    assert why(case.request, case.profile, **case.machine).endswith(f": {case.remedy}")


OBSTACLE = '"blacklist sctp" (/etc/modprobe.d/a.conf:1) stands in the way'
BLOCKED = replace(P61, loadable=(), blocked={"sctp": OBSTACLE}, remedies={"sctp": "remove that line"})


@pytest.mark.parametrize(
    ("results", "modprobe"),
    [
        ((256, 256), "modprobe loaded neither"),
        ((256, 0), "modprobe loaded neither, though its exit status was 0 for the second"),
        ((None, 0), "modprobe loaded neither, though its exit status was 0 for the second"),
        ((0, 0), "modprobe loaded both and neither registered it"),
        ((0, 256), "modprobe loaded a module for the first, which did not register it"),
    ],
)
def test_module_requests_for_a_blocked_module(results, modprobe):
    sentence = why(SCTP, BLOCKED, results=results)
    assert f"net-pf-2-proto-132, {modprobe}: sctp is on this machine but {OBSTACLE}: remove that line" in sentence


def test_exit_status_of_modprobe_for_a_blacklisted_module_is_predicted_as_0():
    sentence = why(SCTP, replace(BLOCKED, left_alone=("sctp",)))
    assert "modprobe loaded neither, though its exit status was 0 for the second" in sentence
    assert "exit status" not in why(SCTP, BLOCKED)


def test_type_without_a_name_is_a_number():
    sentence = why((AF_INET, 0, 0))
    assert sentence.startswith("nothing is registered for socket type 0 in AF_INET; the kernel asked for ")


class Created(NamedTuple):
    """``request`` succeeds, for the reason ``sentence``."""

    sentence: str
    request: tuple[int, int, int]
    machine: Mapping[str, Any] = MappingProxyType({})


@pytest.mark.parametrize(
    "case",
    [
        Created("TCP is registered for SOCK_STREAM", (AF_INET, SOCK_STREAM, IPPROTO_TCP)),
        Created("TCP is registered for SOCK_STREAM and protocol 0 takes the first entry that has one", TCP),
        Created("RAW is registered for SOCK_RAW and takes any protocol, including IPPROTO_ICMP (1)", RAW_ICMP),
        Created(
            "RAWv6 is registered for SOCK_RAW and takes any protocol, including protocol 200", (AF_INET6, SOCK_RAW, 200)
        ),
        Created(
            "PING is registered for SOCK_DGRAM; one of the caller's groups is in ping_group_range",
            PING,
            {"ping_group_allowed": True},
        ),
        Created("MPTCP is registered for SOCK_STREAM; net.mptcp.enabled is on", MPTCP),
        Created(
            "L2TP/IP was not registered for SOCK_DGRAM until the kernel had asked for net-pf-2-proto-115-type-2: "
            "the module has been loaded since",
            (AF_INET, SOCK_DGRAM, IPPROTO_L2TP),
        ),
    ],
    ids=lambda case: case.sentence,
)
def test_created(case):
    assert why(case.request, **case.machine) == case.sentence


SECRET = "; the first such socket also waits for the connection hash's secret"


@pytest.mark.parametrize(
    ("request_", "waits"),
    [
        ((AF_INET, SOCK_STREAM, IPPROTO_TCP), True),
        ((AF_INET, SOCK_DGRAM, IPPROTO_UDP), False),
        ((AF_INET, SOCK_RAW, IPPROTO_ICMP), False),
    ],
)
def test_first_socket_of_linux_3_may_be_slow(request_, waits):
    assert why(request_, P3X).endswith(SECRET) == waits


LACKS = "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks"


@pytest.mark.parametrize(
    ("request_", "remedy"),
    [
        (
            (AF_INET, SOCK_RAW, IPPROTO_ICMP),
            "run it as root or give it cap_net_raw, or use SOCK_DGRAM where net.ipv4.ping_group_range allows it",
        ),
        ((AF_INET, SOCK_RAW, IPPROTO_RAW), "run it as root or give it cap_net_raw"),
        ((AF_INET6, SOCK_RAW, IPPROTO_ICMP), "run it as root or give it cap_net_raw"),
    ],
)
def test_cap_net_raw(request_, remedy):
    assert why(request_, cap_net_raw=False) == f"{LACKS}: {remedy}"


@pytest.mark.parametrize(
    ("span", "now"),
    [((1, 0), " (now empty)"), ((0, 0), " (now 0 to 0)"), ((0, 2147483647), " (now 0 to 2147483647)"), (None, "")],
)
def test_ping_group(span, now):
    assert why(PING, replace(P61, ping_group_range=span)) == (
        f"none of the caller's groups is in net.ipv4.ping_group_range{now}: widen it, or use SOCK_RAW with CAP_NET_RAW"
    )


class Failed(NamedTuple):
    """``request`` fails by ``rule``, for the reason ``sentence``."""

    rule: Rule
    sentence: str
    request: tuple[int, int, int]
    profile: Profile = P61
    seen: bool = False
    machine: Mapping[str, Any] = MappingProxyType({})


@pytest.mark.parametrize(
    "case",
    [
        Failed(
            Rule.MPTCP_DISABLED,
            "MPTCP is switched off in this net namespace: sysctl net.mptcp.enabled=1",
            MPTCP,
            machine={"mptcp_enabled": False},
        ),
        Failed(
            Rule.NETNS,
            "IPPROTO_SCTP (132) does not work outside the initial net namespace on this kernel",
            SCTP,
            P3X,
            machine={"initial_netns": False},
        ),
        Failed(
            Rule.PROTOCOL_RANGE,
            "protocol 263 is outside 0 to 262: IPPROTO_MAX is 263 on this kernel",
            (AF_INET, SOCK_STREAM, 263),
        ),
        Failed(
            Rule.HASH,
            "RAW's hash function refused the socket with EADDRINUSE",
            RAW_ICMP,
            machine={"failures": {"hash": "EADDRINUSE"}},
        ),
        Failed(
            Rule.INIT,
            "TCP's init function failed with ENOBUFS: there was no memory",
            TCP,
            machine={"failures": {"init": "ENOBUFS"}},
        ),
        Failed(
            Rule.INIT,
            "TCP's init function failed with ENOBUFS: consistent with no memory, which was not observed",
            TCP,
            seen=True,
            machine={"failures": {"init": "ENOBUFS"}},
        ),
        Failed(
            Rule.TYPE_RANGE,
            "socket type 13 does not exist, the last is SOCK_PACKET (10): inet_create was not reached",
            (AF_INET, 13, 0),
        ),
        Failed(
            Rule.PACKET,
            "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create was not reached",
            (AF_INET, SOCK_PACKET, 0),
        ),
    ],
    ids=lambda case: f"{case.rule}{' seen' * case.seen}",
)
def test_other_rules(case):
    assert inet_create.socket(Machine(case.profile, **case.machine), *case.request).rule is case.rule
    assert why(case.request, case.profile, seen=case.seen, **case.machine) == case.sentence


def test_nested_socket():
    class NoMemoryForTcp(Machine):
        def allocation_failure(self, entry):
            return Rule.ALLOC_MEMORY if entry.prot == "TCP" else None

    outcome = inet_create.socket(NoMemoryForTcp(P61), *MPTCP)
    assert reason(Request(*MPTCP, P61), outcome) == (
        "the TCP socket that MPTCP makes for itself failed with ENOMEM (alloc-memory)"
    )


def test_module_requests_of_the_nested_socket_are_left_out():
    outcome = inet_create.socket(Machine(P61), *UNREGISTERED)
    deeper = tuple(c._replace(depth=c.depth + 1) if c.module else c for c in outcome.calls)
    assert "the kernel asked" not in reason(Request(*UNREGISTERED, P61), outcome._replace(calls=deeper))


def test_verdict_has_the_module_results_of_the_trace():
    outcome = inet_create.socket(Machine(P61), *UNREGISTERED)
    calls = [call._replace(result=-2) if call.module else call for call in outcome.calls]
    seen = Seen(*UNREGISTERED, False, None, outcome.errno, None, tuple(calls))
    assert judge(seen, P61).reason == why(UNREGISTERED, results=(-2, -2))


def test_verdict_infers_a_cgroup_program():
    refused = inet_create.socket(Machine(P61, failures={"cgroup": "EPERM"}), *TCP)
    verdict = judge(Seen(*TCP, False, None, "EPERM", "TCP", refused.calls), P61)
    assert verdict.reason == (
        "after sk_alloc only a BPF program of the caller's cgroup (sock_create) refuses with EPERM, consistent with a "
        "program that was not observed: see bpftool cgroup tree"
    )


def test_verdict_infers_a_security_module():
    refused = inet_create.socket(Machine(P61, cap_net_raw=False), *RAW_ICMP)
    verdict = judge(Seen(*RAW_ICMP, False, True, "EPERM", None, refused.calls), P61)
    assert verdict.reason == (
        "the caller's CAP_NET_RAW was refused before sk_alloc: consistent with a security module's denial, which was "
        "not observed: see the audit log"
    )


@pytest.mark.parametrize(("enabled", "errno"), [(True, None), (False, "ENOPROTOOPT"), (None, "ENOPROTOOPT")])
def test_mptcp_is_enabled_as_the_profile_says(enabled, errno):
    assert inet_create.socket(Machine(replace(P61, mptcp_enabled=enabled)), *MPTCP).errno == errno


@pytest.mark.parametrize("family", [0, 45])
def test_first_and_last_family_exist(family):
    with pytest.raises(ValueError, match=f"family {family}"):
        inet_create.socket(Machine(P61), family, SOCK_STREAM, 0)


def test_type_0_reaches_inet_create():
    outcome = inet_create.socket(Machine(P61), AF_INET, 0, 0)
    assert outcome.rule is Rule.TYPE
    assert judge(Seen(AF_INET, 0, 0, False, None, outcome.errno, None, outcome.calls), P61).verdict == "ok"


def test_call_that_returned_something_else_is_numbered():
    outcome = inet_create.socket(Machine(P510), *TCP)
    calls = (*outcome.calls[:2], outcome.calls[2]._replace(pointer="NULL"))
    verdict = judge(Seen(*TCP, False, None, None, "TCP", calls), P510)
    assert verdict.reason == "call 3: expected sk_prot_alloc to return valid, saw NULL"
