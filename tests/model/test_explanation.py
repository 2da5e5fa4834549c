"""Reason, evidence and fix of each rule, word for word where they depend on the request, the machine or the trace."""

from collections.abc import Mapping
from dataclasses import replace
from errno import EAFNOSUPPORT, EPERM
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
from inetprobe.model import inet_create, sys_socket
from inetprobe.model.caller import Caller
from inetprobe.model.examples import examples
from inetprobe.model.explanation import Request, explain
from inetprobe.model.fix import Fix
from inetprobe.model.judge import Seen, judge
from inetprobe.model.profile import BUILT_IN_PROFILES, FamilyModule, Profile
from inetprobe.model.question import SocketQuestion
from inetprobe.model.rules import Rule
from inetprobe.model.seccomp import Action, Instruction
from inetprobe.model.world import Machine

P61, P510, P72, P3X = (BUILT_IN_PROFILES[kernel] for kernel in ("6.1", "5.10", "7.2", "3.x"))

TCP = (AF_INET, SOCK_STREAM, 0)
SCTP = (AF_INET, SOCK_STREAM, IPPROTO_SCTP)
MPTCP = (AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
PING = (AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
RAW_ICMP = (AF_INET, SOCK_RAW, IPPROTO_ICMP)
UNREGISTERED = (AF_INET, SOCK_STREAM, 200)


def why(request, profile=P61, *, seen=False, results=None, **machine):
    """The explanation; ``results``: those of __request_module(), in their order, instead of the machine's."""
    outcome = sys_socket.socket(Machine(profile, **machine), *request)
    if results is not None:
        left = iter(results)
        calls = tuple(c if c.module is None else c._replace(result=next(left)) for c in outcome.calls)
        outcome = outcome._replace(calls=calls)
    return explain(Request(*request, profile, seen=seen), outcome)


ASKED = "the kernel asked for net-pf-2-proto-200-type-1 and net-pf-2-proto-200, "
OFF = "but could not run modprobe: there is no such program, or autoloading is off (/proc/sys/kernel/modprobe)"
INSTEAD = (Fix("use IPPROTO_TCP or IPPROTO_MPTCP with SOCK_STREAM"),)


@pytest.mark.parametrize(
    ("results", "modprobe"),
    [
        ((256, 256), "modprobe found neither"),
        ((0, 0), "modprobe loaded both and neither registered it"),
        ((0, 256), "modprobe loaded a module for the first, which did not register it"),
        ((256, 0), "modprobe loaded a module for the second, which did not register it"),
        ((-2, -2), OFF),
        ((-512, 256), "but could not run modprobe: 512"),
        ((256, -1), "but could not run modprobe: EPERM"),
        ((-62, -2), "but could not run modprobe: ETIME"),
        ((None, 256), "modprobe found neither"),
        ((None, None), "modprobe found neither"),
    ],
)  # fmt: skip
def test_module_requests(results, modprobe):
    explanation = why(UNREGISTERED, results=results)
    assert explanation == ("protocol 200 is not registered for SOCK_STREAM", (f"{ASKED}{modprobe}",), INSTEAD)


def test_kernel_without_modules_asks_for_none_and_modprobe_is_never_advised():
    profile = replace(P61, features=replace(P61.features, request_module=False))
    no_modules = ("this kernel has no modules (CONFIG_MODULES is not set)",)
    assert why(UNREGISTERED, profile) == ("protocol 200 is not registered for SOCK_STREAM", no_modules, INSTEAD)
    for blocked in ({}, {"sctp": "the reason"}):
        explanation = why(SCTP, replace(profile, loadable=(), blocked=blocked))
        assert explanation.evidence == no_modules
        assert explanation.fix == (Fix("use a kernel that is built with sctp"),)


LOCKED = "kernel.modules_disabled is 1: no module can be loaded until the next boot"
NO_AUTOLOAD = "/proc/sys/kernel/modprobe is empty: the kernel does not load modules by itself"
INSTALL = "install the kernel module {}, or remove the line that blacklists it"
INSTALL_SCTP = Fix(INSTALL.format("sctp"), "widens")


class Remedy(NamedTuple):
    """``request`` fails, and the last evidence and the fix are these."""

    fix: Fix
    request: tuple[int, int, int]
    profile: Profile = P61
    machine: Mapping[str, Any] = MappingProxyType({})
    evidence: str = "the kernel asked for "


@pytest.mark.parametrize(
    "case",
    [
        Remedy(INSTALL_SCTP, SCTP, machine={"loadable": ()}),
        Remedy(Fix(INSTALL.format("smc"), "widens"), (AF_INET, SOCK_STREAM, IPPROTO_SMC)),
        Remedy(Fix(INSTALL.format("dccp_ipv4"), "widens"), (AF_INET, SOCK_DCCP, IPPROTO_DCCP), P72),
        Remedy(Fix("modprobe sctp", "widens"), (AF_INET, SOCK_SEQPACKET, 0), machine={"loadable": ()}),
        Remedy(
            Fix("modprobe dccp_ipv4", "widens"),
            (AF_INET, SOCK_DCCP, IPPROTO_DCCP),
            evidence="dccp_ipv4 is on this machine but no alias leads to it",
        ),
        Remedy(
            Fix("modprobe dccp_ipv6", "widens"),
            (AF_INET6, SOCK_DCCP, 0),
            evidence="dccp_ipv6 is on this machine but no alias leads to it",
        ),
        Remedy(Fix("use a kernel that is built with mptcp"), MPTCP, P510, evidence="5.10 is built without mptcp"),
        Remedy(
            Fix("use a kernel that is built with udplite"),
            (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE),
            P72,
            evidence="7.2 is built without udplite",
        ),
        Remedy(Fix("use SOCK_DGRAM with IPPROTO_UDP (17)"), (AF_INET, SOCK_STREAM, IPPROTO_UDP)),
        Remedy(Fix("use SOCK_STREAM with IPPROTO_TCP (6)"), (AF_INET, 0, IPPROTO_TCP)),
        Remedy(
            Fix("use SOCK_STREAM or SOCK_SEQPACKET with IPPROTO_SCTP (132)"),
            (AF_INET, SOCK_DGRAM, IPPROTO_SCTP),
        ),
        Remedy(
            Fix("use IPPROTO_UDP, IPPROTO_ICMPV6 or IPPROTO_UDPLITE with SOCK_DGRAM"),
            (AF_INET6, SOCK_DGRAM, IPPROTO_ICMP),
        ),
        Remedy(Fix("use IPPROTO_UDP or IPPROTO_ICMP with SOCK_DGRAM"), (AF_INET, SOCK_DGRAM, 200), P72),
        Remedy(Fix("check the type and the protocol: no module of Linux registers this pair"), (AF_INET, SOCK_RDM, 0)),
        Remedy(Fix("name the protocol, such as IPPROTO_ICMP"), (AF_INET, SOCK_RAW, 0)),
    ],
    ids=lambda case: case.fix.do,
)
def test_remedy(case):
    explanation = why(case.request, case.profile, **case.machine)
    assert explanation.fix == (case.fix,)
    assert explanation.evidence[-1].startswith(case.evidence)


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
    _, (asked, on_disk), fix = why(SCTP, BLOCKED, results=results)
    assert asked.endswith(f" and net-pf-2-proto-132, {modprobe}")
    assert on_disk == f"sctp is on this machine but {OBSTACLE}"
    assert fix == (Fix("remove that line", "weakens"),)


def test_exit_status_of_modprobe_for_a_blacklisted_module_is_predicted_as_0():
    asked, _ = why(SCTP, replace(BLOCKED, left_alone=("sctp",))).evidence
    assert asked.endswith("modprobe loaded neither, though its exit status was 0 for the second")
    assert "exit status" not in why(SCTP, BLOCKED).evidence[0]


BY_HAND = "remove line 1 of /etc/modprobe.d/a.conf, or modprobe sctp"
BLACKLISTED = replace(BLOCKED, remedies={"sctp": BY_HAND})
AT_BOOT = "name sctp in a file of /etc/modules-load.d, and boot"


@pytest.mark.parametrize(
    ("profile", "fix"),
    [
        (P61, Fix(AT_BOOT, "widens")),
        (BLACKLISTED, Fix(f"remove line 1 of /etc/modprobe.d/a.conf, {AT_BOOT}", "weakens")),
        (BLOCKED, Fix(f"remove that line, {AT_BOOT}", "weakens")),
        (replace(P61, loadable=()), INSTALL_SCTP),
    ],
)
def test_a_kernel_that_is_closed_to_modules_is_never_to_modprobe(profile, fix):
    _, (asked, *_, locked), fixes = why(SCTP, replace(profile, modules_disabled=True))
    assert asked.endswith(", modprobe loaded neither")
    assert (locked, fixes) == (LOCKED, (fix,))


def test_a_kernel_that_is_closed_to_modules_still_lacks_those_that_modprobe_does_not_find():
    assert why(UNREGISTERED, replace(P61, modules_disabled=True)).evidence == (f"{ASKED}modprobe found neither",)


@pytest.mark.parametrize(
    ("profile", "fixes"),
    [
        (P61, (Fix("modprobe sctp", "widens"), Fix("sysctl -w kernel.modprobe=/sbin/modprobe", "weakens"))),
        (BLACKLISTED, (Fix("modprobe sctp", "weakens"),)),
        (BLOCKED, (Fix("remove that line, then modprobe sctp", "weakens"),)),
        (replace(P61, loadable=()), (INSTALL_SCTP,)),
    ],
)
def test_a_kernel_that_does_not_start_modprobe_has_it_started_by_hand(profile, fixes):
    _, (asked, *_, off), given = why(SCTP, replace(profile, modprobe=""))
    assert "could not run modprobe" in asked
    assert (off, given) == (NO_AUTOLOAD, fixes)


AF_NFC, NFC = 39, "net-pf-39"
FALSE, FALSE_LINE = '"install nfc /bin/false" (/etc/modprobe.d/a.conf:3) stands in the way', "remove line 3"
BARRED, SKIPPED, ON_DISK, GONE, UNKNOWN = (
    {NFC: FamilyModule("nfc", FALSE, FALSE_LINE)},
    {NFC: FamilyModule("nfc", OBSTACLE, "remove line 1, or modprobe nfc")},
    {NFC: FamilyModule("nfc")},
    {},
    None,
)
NOT_LOADED = "modprobe did not load it"
ABSENT = "no module on this machine has the alias net-pf-39"
IS_FALSE, IS_SKIPPED = f"nfc is on this machine but {FALSE}", f"nfc is on this machine but {OBSTACLE}"
LOOK = Fix("see what keeps its module away: modprobe -n -v net-pf-39")
BY_NAME, BY_ALIAS = Fix("modprobe nfc", "widens"), Fix("modprobe net-pf-39", "widens")
NO_NFC = Fix("install a kernel module with the alias net-pf-39, or use a kernel with AF_NFC", "widens")
NAME_IT = "in a file of /etc/modules-load.d, and boot"
AUTOLOAD = Fix("sysctl -w kernel.modprobe=/sbin/modprobe", "weakens")


@pytest.mark.parametrize(
    ("families", "result", "asked", "evidence", "fix"),
    [
        (BARRED, 256, NOT_LOADED, [IS_FALSE], [Fix("remove line 3", "weakens")]),
        (SKIPPED, 0, f"{NOT_LOADED}, though its exit status was 0", [IS_SKIPPED],
         [Fix("remove line 1, or modprobe nfc", "weakens")]),
        (ON_DISK, 256, NOT_LOADED, ["its module nfc is on this machine"], [LOOK, BY_NAME]),
        (ON_DISK, 0, "modprobe gave status 0", ["its module nfc is on this machine"], [LOOK, BY_NAME]),
        (GONE, 256, NOT_LOADED, [ABSENT], [NO_NFC]),
        (UNKNOWN, 256, NOT_LOADED, [], [LOOK, BY_ALIAS]),
        (UNKNOWN, 0, "modprobe gave status 0", [], [LOOK, BY_ALIAS]),
    ],
)  # fmt: skip
def test_what_keeps_a_family_away(families, result, asked, evidence, fix):
    assert without_nfc(result, families=families) == (asked, evidence, fix)


@pytest.mark.parametrize(
    ("families", "evidence", "fix"),
    [
        (ON_DISK, [LOCKED], Fix(f"name nfc {NAME_IT}", "widens")),
        (BARRED, [IS_FALSE, LOCKED], Fix(f"remove line 3, name nfc {NAME_IT}", "weakens")),
        (SKIPPED, [IS_SKIPPED, LOCKED], Fix(f"remove line 1, name nfc {NAME_IT}", "weakens")),
        (GONE, [ABSENT, LOCKED], NO_NFC),
        (UNKNOWN, [LOCKED], Fix(f"name net-pf-39 {NAME_IT}", "widens")),
    ],
)
def test_a_kernel_that_is_closed_to_modules_gets_a_family_at_boot(families, evidence, fix):
    assert without_nfc(256, families=families, modules_disabled=True) == (NOT_LOADED, evidence, [fix])


@pytest.mark.parametrize(
    ("families", "evidence", "fix"),
    [
        (ON_DISK, [NO_AUTOLOAD], [BY_NAME, AUTOLOAD]),
        (BARRED, [IS_FALSE, NO_AUTOLOAD], [Fix("remove line 3, then modprobe nfc", "weakens")]),
        (SKIPPED, [IS_SKIPPED, NO_AUTOLOAD], [Fix("modprobe nfc", "weakens")]),
        (GONE, [ABSENT, NO_AUTOLOAD], [NO_NFC]),
        (UNKNOWN, [NO_AUTOLOAD], [BY_ALIAS, AUTOLOAD]),
    ],
)
def test_a_kernel_that_does_not_start_modprobe_gets_a_family_by_hand(families, evidence, fix):
    assert without_nfc(-2, families=families, modprobe="") == (OFF, evidence, fix)


def without_nfc(result, **facts):
    """What its module's request came to, the other evidence, and the fix, of a socket of AF_NFC that failed."""
    call = inet_create.PredictedCall("__request_module", 3, result, None, NFC)
    refused = inet_create.Outcome(Rule.NO_FAMILY, "EAFNOSUPPORT", calls=(call, call._replace(module="net-pf-8")))
    reason, (asked, *evidence), fix = explain(
        Request(AF_NFC, SOCK_STREAM, 0, replace(P61, **facts), seen=True), refused
    )
    assert reason.startswith("this kernel has no code for AF_NFC; a security module may")
    assert asked.startswith("the kernel asked for net-pf-39, ")
    return asked.partition(", ")[2], evidence, list(fix)


def test_sock_packet_of_inet_is_another_family_s():
    refused = inet_create.Outcome(Rule.NO_FAMILY, "EAFNOSUPPORT")
    reason, evidence, _ = explain(Request(AF_INET, SOCK_PACKET, 0, replace(P61, families={}), seen=True), refused)
    assert reason.startswith("this kernel has no code for AF_PACKET; ")
    assert evidence == ("no module on this machine has the alias net-pf-17",)


@pytest.mark.parametrize("families", [UNKNOWN, GONE])
def test_a_family_that_no_kernel_has_sockets_of(families):
    profile, refused = replace(P61, families=families), inet_create.Outcome(Rule.NO_FAMILY, "EAFNOSUPPORT")
    _, evidence, fix = explain(Request(18, SOCK_STREAM, 0, profile), refused)
    assert evidence == ("Linux makes no sockets of AF_ASH",)
    assert fix == (Fix("pass another family, such as AF_INET (2)"),)
    strange = replace(P61, families={"net-pf-18": FamilyModule("ash")})
    assert explain(Request(18, SOCK_STREAM, 0, strange), refused).fix[-1] == Fix("modprobe ash", "widens")


@pytest.mark.parametrize("facts", [{}, {"families": BARRED}, {"modules_disabled": True}, {"modprobe": ""}])
def test_a_kernel_without_modules_is_built_without_a_family(facts):
    profile = replace(P61, features=replace(P61.features, request_module=False), **facts)
    refused = inet_create.Outcome(Rule.NO_FAMILY, "EAFNOSUPPORT")
    reason, evidence, fix = explain(Request(AF_NFC, SOCK_STREAM, 0, profile, seen=True), refused)
    assert reason.startswith("this kernel is built without AF_NFC; ")
    assert evidence == ("this kernel has no modules (CONFIG_MODULES is not set)",)
    assert fix == (Fix("use a kernel with AF_NFC"),)


def test_type_without_a_name_is_a_number():
    assert why((AF_INET, 0, 0)).reason == "nothing is registered for socket type 0 in AF_INET"


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
            "L2TP/IP is registered for SOCK_DGRAM by the module that came when the kernel asked for "
            "net-pf-2-proto-115-type-2",
            (AF_INET, SOCK_DGRAM, IPPROTO_L2TP),
        ),
    ],
    ids=lambda case: case.sentence,
)
def test_created(case):
    assert why(case.request, **case.machine) == (case.sentence, (), ())


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
    assert why(request_, P3X).reason.endswith(SECRET) == waits


LACKS = "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks"
PING_SOCKET = "use SOCK_DGRAM with IPPROTO_ICMP where net.ipv4.ping_group_range has a group of the caller's"


@pytest.mark.parametrize(
    ("request_", "instead"),
    [
        ((AF_INET, SOCK_RAW, IPPROTO_ICMP), [Fix(PING_SOCKET)]),
        ((AF_INET, SOCK_RAW, IPPROTO_RAW), []),
        ((AF_INET6, SOCK_RAW, IPPROTO_ICMP), []),
    ],
)
def test_cap_net_raw(request_, instead):
    reason, evidence, fix = why(request_, cap_net_raw=False)
    assert (reason, evidence) == (LACKS, ())
    *safe, setcap, unit, container = fix
    assert safe == instead
    assert [given.effect for given in (setcap, unit, container)] == ["widens"] * 3
    assert setcap.do == "setcap cap_net_raw+ep PROGRAM"
    assert unit.do.startswith("AmbientCapabilities=CAP_NET_RAW")
    assert "--cap-add NET_RAW" in container.do


@pytest.mark.parametrize(
    ("span", "now"),
    [((1, 0), ["empty"]), ((0, 0), ["0 to 0"]), ((0, 2147483647), ["0 to 2147483647"]), (None, [])],
)
def test_ping_group(span, now):
    reason, evidence, fix = why(PING, replace(P61, ping_group_range=span))
    assert reason == "none of the caller's groups is in net.ipv4.ping_group_range"
    assert evidence == tuple(f"net.ipv4.ping_group_range is {range_}" for range_ in now)
    assert fix[0] == Fix("sysctl -w net.ipv4.ping_group_range='0 2147483647'", "widens")


class Failed(NamedTuple):
    """``request`` fails by ``rule``, for the reason ``sentence``."""

    rule: Rule
    sentence: str
    request: tuple[int, int, int]
    profile: Profile = P61
    machine: Mapping[str, Any] = MappingProxyType({})


@pytest.mark.parametrize(
    "case",
    [
        Failed(
            Rule.MPTCP_DISABLED,
            "MPTCP is switched off in this net namespace (net.mptcp.enabled)",
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
            "RAW's hash function refused the socket",
            RAW_ICMP,
            machine={"failures": {"hash": "EADDRINUSE"}},
        ),
        Failed(
            Rule.INIT,
            "TCP's init function failed with ENOBUFS, most likely for want of memory",
            TCP,
            machine={"failures": {"init": "ENOBUFS"}},
        ),
        Failed(
            Rule.INIT,
            "TCP's init function failed with EPERM",
            TCP,
            machine={"failures": {"init": "EPERM"}},
        ),
        Failed(
            Rule.TYPE_RANGE,
            "socket type 13 does not exist, the last is SOCK_PACKET (10)",
            (AF_INET, 13, 0),
        ),
        Failed(
            Rule.PACKET,
            "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create is not reached",
            (AF_INET, SOCK_PACKET, 0),
        ),
    ],
    ids=lambda case: f"{case.rule} {case.sentence}",
)
def test_other_rules(case):
    assert sys_socket.socket(Machine(case.profile, **case.machine), *case.request).rule is case.rule
    explanation = why(case.request, case.profile, **case.machine)
    assert explanation.reason == case.sentence
    assert bool(explanation.fix) == (case.rule is not Rule.PACKET)


def test_nested_socket():
    class NoMemoryForTcp(Machine):
        def allocation_failure(self, entry):
            return Rule.ALLOC_MEMORY if entry.prot == "TCP" else None

    outcome = sys_socket.socket(NoMemoryForTcp(P61), *MPTCP)
    assert explain(Request(*MPTCP, P61), outcome).reason == (
        "the TCP socket that MPTCP makes for itself failed with ENOMEM: alloc-memory"
    )


def test_module_requests_of_the_nested_socket_are_left_out():
    outcome = sys_socket.socket(Machine(P61), *UNREGISTERED)
    deeper = tuple(c._replace(depth=c.depth + 1) if c.module else c for c in outcome.calls)
    assert explain(Request(*UNREGISTERED, P61), outcome._replace(calls=deeper)).evidence == ()


def test_verdict_has_the_module_results_of_the_trace():
    outcome = sys_socket.socket(Machine(P61), *UNREGISTERED)
    calls = [call._replace(result=-2) if call.module else call for call in outcome.calls]
    seen = Seen(*UNREGISTERED, False, None, outcome.errno, None, tuple(calls))
    verdict = judge(seen, P61)
    assert verdict.stage == "create"
    assert verdict.why == why(UNREGISTERED, results=(-2, -2), seen=True)
    assert verdict.why.evidence[0] == "inet_create returned EPROTONOSUPPORT and did not come to sk_alloc"


def test_verdict_infers_a_cgroup_program():
    refused = sys_socket.socket(Machine(P61, failures={"cgroup": "EPERM"}), *TCP)
    verdict = judge(Seen(*TCP, False, None, "EPERM", "TCP", refused.calls), P61)
    assert verdict.why.reason == (
        "a BPF program of the caller's cgroup (sock_create) refused the socket: nothing else refuses after sk_alloc; "
        "the program itself was not seen"
    )
    assert verdict.why.evidence == ("inet_create returned EPERM after sk_alloc had made the sock",)
    assert verdict.why.fix[0].effect == "weakens"


def test_verdict_infers_a_security_module():
    refused = sys_socket.socket(Machine(P61, cap_net_raw=False), *RAW_ICMP)
    verdict = judge(Seen(*RAW_ICMP, False, True, "EPERM", None, refused.calls), P61)
    assert verdict.rule is Rule.CAP_NET_RAW_DENIED
    assert verdict.why.reason.startswith("a security module denied the caller's CAP_NET_RAW, most likely: ")
    assert verdict.why.evidence == (
        "inet_create returned EPERM and did not come to sk_alloc",
        "the caller has CAP_NET_RAW",
    )


def test_verdict_cannot_tell_why_there_was_no_sock():
    """Of the three causes it names the likeliest, and says that the others look the same."""
    whys = set()
    for cause in ("memory", "security", "module"):
        refused = sys_socket.socket(Machine(P61, failures={"alloc": cause}), *TCP)
        whys.add(judge(Seen(*TCP, False, None, refused.errno, "TCP", refused.calls), P61).why)
    [explanation] = whys
    assert explanation.reason.startswith(
        "there was no memory for the sock, most likely: sk_prot_alloc returns the same"
    )
    assert explanation.evidence == ("sk_prot_alloc returned NULL",)
    assert explanation.fix[0].do == "make the socket again"


def by_filter(action, data=0, cgroup=None):
    """The explanation of what one filter answers to a process in ``cgroup``."""
    program = (Instruction(0x06, 0, 0, (action | data) & 0xFFFFFFFF),)
    caller = Caller(7, "app", cgroup, False, frozenset(), (program,), "x86_64")
    question = SocketQuestion(P61, *TCP, caller=caller)
    outcome = question.answer()
    return outcome.word, question.explain(outcome)


@pytest.mark.parametrize(
    ("action", "data", "word", "does", "answers"),
    [
        (Action.ERRNO, EPERM, "failed", "refuses it with EPERM", "ERRNO(EPERM)"),
        (Action.TRAP, 3, "failed", "sends SIGSYS to the thread, whose handler decides", "TRAP"),
        (Action.KILL_THREAD, 0, "failed", "kills the thread (SIGSYS)", "KILL_THREAD"),
        (Action.KILL_PROCESS, 0, "failed", "kills the process (SIGSYS)", "KILL_PROCESS"),
        (Action.TRACE, 0, "failed", "leaves the call to a tracer, and there is none", "TRACE"),
        (Action.USER_NOTIF, 0, "unknown", "leaves the call to a supervisor, whose answer is not known", "USER_NOTIF"),
    ],
)
def test_each_answer_of_a_filter(action, data, word, does, answers):
    said, (reason, (filter_, whose), [fix]) = by_filter(action, data)
    assert (said, reason) == (word, f"a seccomp filter {does}")
    assert filter_ == f"filter 1 of 1 of process 7 (app), in the order of installation, answers {answers}"
    assert whose == "the process is in no container and no service: most likely its own sandbox"
    assert fix == Fix("look for the setting of the program that allows it", "widens")


SERVICE, SCOPE = "/system.slice/app.service", "/user.slice/user-0.slice/session-1.scope"


@pytest.mark.parametrize(
    ("cgroup", "errno", "whose", "fix"),
    [
        (SERVICE, EAFNOSUPPORT, "app.service: most likely its RestrictAddressFamilies=, which answers so", "systemctl"),
        (
            SERVICE,
            EPERM,
            "app.service: most likely its SystemCallFilter=",
            "systemctl edit app.service, and allow it in",
        ),
        (SCOPE, EPERM, "no container and no service: most likely its own sandbox", "look for the setting"),
        (f"/docker/{'a' * 64}", EPERM, "a container of docker: most likely its profile", "docker run --security-opt"),
        (f"/system.slice/app.service/{'a' * 64}", EPERM, "a container of the container runtime: most", "docker run"),
    ],
)
def test_whose_filter_it_is(cgroup, errno, whose, fix):
    _, (_, evidence, [what]) = by_filter(Action.ERRNO, errno, cgroup)
    assert evidence[1].startswith(f"the process is in {whose}")
    assert what.do.startswith(fix)
    assert what.effect == "widens"


def test_protocol_0_without_a_module_is_no_matter_of_raw_sockets():
    assert (
        why((AF_INET, SOCK_SEQPACKET, 0), loadable=()).reason == "nothing is registered for SOCK_SEQPACKET in AF_INET"
    )
    assert why((AF_INET, SOCK_RAW, 0)).reason == "SOCK_RAW takes any protocol but 0"


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_examples_and_those_that_refuse_a_socket_a_fix(rule):
    for question, outcome in examples(rule):
        assert outcome.rule is rule
        assert (outcome.errno is None) == (rule.stage is None)
        assert not rule.errnos or outcome.errno in rule.errnos
        explanation = question.explain(outcome)
        assert bool(explanation.fix) == (rule.stage is not None)
        for text in (explanation.reason, *explanation.evidence, *(fix.do for fix in explanation.fix)):
            assert text == text.strip(" .")
            assert text


@pytest.mark.parametrize(("enabled", "errno"), [(True, None), (False, "ENOPROTOOPT"), (None, "ENOPROTOOPT")])
def test_mptcp_is_enabled_as_the_profile_says(enabled, errno):
    assert sys_socket.socket(Machine(replace(P61, mptcp_enabled=enabled)), *MPTCP).errno == errno


def test_type_0_reaches_inet_create():
    outcome = sys_socket.socket(Machine(P61), AF_INET, 0, 0)
    assert outcome.rule is Rule.TYPE
    assert judge(Seen(AF_INET, 0, 0, False, None, outcome.errno, None, outcome.calls), P61).verdict == "as_predicted"


def test_call_that_returned_something_else_is_numbered():
    outcome = sys_socket.socket(Machine(P510), *TCP)
    calls = (*outcome.calls[:2], outcome.calls[2]._replace(pointer="NULL"))
    verdict = judge(Seen(*TCP, False, None, None, "TCP", calls), P510)
    assert verdict.why.reason == "call 3: expected sk_prot_alloc to return valid, saw NULL"
