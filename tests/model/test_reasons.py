"""What each sentence says, word for word where the words depend on what was seen."""

from dataclasses import replace

import pytest

from inetprobe.model import inet_create
from inetprobe.model.judge import Seen, judge
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.reasons import Request, reason
from inetprobe.model.world import Machine

P61, P510, P612, P72 = (BUILT_IN_PROFILES[name] for name in ("6.1", "5.10", "6.12", "7.2"))
ASKED = "; the kernel asked for net-pf-2-proto-200-type-1 and net-pf-2-proto-200, "
INSTEAD = ": SOCK_STREAM has IPPROTO_TCP and IPPROTO_MPTCP"


def why(request, profile=P61, *, seen=False, results=None, **machine):
    outcome = inet_create.socket(Machine(profile, **machine), *request)
    if results is not None:
        left = iter(results)
        calls = tuple(c if c.module is None else c._replace(result=next(left)) for c in outcome.calls)
        outcome = outcome._replace(calls=calls)
    return reason(Request(*request, profile, seen=seen), outcome)


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ((256, 256), "modprobe found neither"),
        ((0, 0), "modprobe loaded both and neither registered it"),
        ((0, 256), "modprobe loaded what answers to the first, and that did not register it"),
        ((256, 0), "modprobe loaded what answers to the second, and that did not register it"),
        ((-2, -2), "but could not run modprobe: there is no such program, or autoloading is off "
                   "(/proc/sys/kernel/modprobe)"),
        ((-512, 256), "but could not run modprobe: 512"),
        ((256, -1), "but could not run modprobe: EPERM"),
        ((-62, -2), "but could not run modprobe: ETIME"),
        ((None, 256), "modprobe found neither"),
        ((None, None), "modprobe found neither"),
    ],
)  # fmt: skip
def test_what_became_of_the_requests(results, says):
    said = why((2, 1, 200), results=results)
    assert said == f"protocol 200 is not registered for SOCK_STREAM{ASKED}{says}{INSTEAD}"


def test_a_kernel_without_modules_asked_for_none():
    profile = replace(P61, features=replace(P61.features, request_module=False))
    assert why((2, 1, 200), profile) == f"protocol 200 is not registered for SOCK_STREAM{INSTEAD}"


@pytest.mark.parametrize(
    ("request_", "profile", "machine", "remedy"),
    [
        ((2, 1, 132), P61, {"loadable": ()}, "install or unblacklist sctp"),
        ((2, 5, 0), P61, {"loadable": ()}, "modprobe sctp"),
        ((2, 6, 33), P61, {}, "dccp_ipv4 is on this machine but no alias leads to it: modprobe dccp_ipv4"),
        ((10, 6, 0), P61, {}, "dccp_ipv6 is on this machine but no alias leads to it: modprobe dccp_ipv6"),
        ((2, 6, 33), P72, {}, "install or unblacklist dccp_ipv4"),
        ((2, 1, 262), P510, {}, "this kernel (5.10) is built without mptcp"),
        ((2, 2, 136), P72, {}, "this kernel (7.2) is built without udplite"),
        ((2, 1, 256), P61, {}, "install or unblacklist smc"),
        ((2, 1, 17), P61, {}, "IPPROTO_UDP (17) goes with SOCK_DGRAM"),
        ((2, 2, 132), P61, {}, "IPPROTO_SCTP (132) goes with SOCK_STREAM or SOCK_SEQPACKET"),
        ((10, 2, 1), P61, {}, "SOCK_DGRAM has IPPROTO_UDP, IPPROTO_ICMPV6 and IPPROTO_UDPLITE"),
        ((2, 2, 200), P72, {}, "SOCK_DGRAM has IPPROTO_UDP and IPPROTO_ICMP"),
        ((2, 4, 0), P61, {}, "no module of Linux registers it: check the type and the protocol"),
        ((2, 0, 6), P61, {}, "IPPROTO_TCP (6) goes with SOCK_STREAM"),
        ((2, 3, 0), P61, {}, "name the protocol, such as IPPROTO_ICMP"),
    ],
)
def test_what_would_help(request_, profile, machine, remedy):
    assert why(request_, profile, **machine).endswith(f": {remedy}")


STOPPED = '"blacklist sctp" (/etc/modprobe.d/a.conf:1) stands in the way'
BLOCKED = replace(P61, loadable=(), blocked={"sctp": STOPPED}, remedies={"sctp": "remove that line"})


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ((256, 256), "modprobe loaded neither"),
        ((256, 0), "modprobe loaded neither, though its exit status was 0 for the second"),
        ((None, 0), "modprobe loaded neither, though its exit status was 0 for the second"),
        ((0, 0), "modprobe loaded both and neither registered it"),
        ((0, 256), "modprobe loaded what answers to the first, and that did not register it"),
    ],
)
def test_a_module_that_modprobe_must_not_load_is_not_said_to_be_loaded(results, says):
    said = why((2, 1, 132), BLOCKED, results=results)
    assert f"net-pf-2-proto-132, {says}: sctp is on this machine but {STOPPED}: remove that line" in said


def test_a_blacklisted_module_is_predicted_to_be_left_alone_without_a_word():
    said = why((2, 1, 132), replace(BLOCKED, left_alone=("sctp",)))
    assert "modprobe loaded neither, though its exit status was 0 for the second" in said
    assert "exit status" not in why((2, 1, 132), BLOCKED)


def test_a_type_without_a_name_is_a_number():
    assert why((2, 0, 0)).startswith("nothing is registered for socket type 0 in AF_INET; the kernel asked for ")


def test_what_matched():
    assert why((2, 1, 6)) == "TCP is registered for SOCK_STREAM"
    assert why((2, 1, 0)) == "TCP is registered for SOCK_STREAM and protocol 0 takes the first entry that has one"
    assert why((2, 3, 1)) == "RAW is registered for SOCK_RAW and takes any protocol, IPPROTO_ICMP (1) too"
    assert why((10, 3, 200)) == "RAWv6 is registered for SOCK_RAW and takes any protocol, protocol 200 too"
    assert why((2, 2, 1), ping_group_allowed=True) == (
        "PING is registered for SOCK_DGRAM; a group of the caller's is in ping_group_range"
    )
    assert why((2, 1, 262)) == "MPTCP is registered for SOCK_STREAM; net.mptcp.enabled is on"
    assert why((2, 2, 115)) == (
        "L2TP/IP was not registered for SOCK_DGRAM until the kernel had asked for net-pf-2-proto-115-type-2: "
        "the module has been loaded since"
    )


def test_the_first_socket_of_a_classic_kernel_may_be_slow():
    classic = BUILT_IN_PROFILES["3.x"]
    secret = "; the first such socket also waits for the connection hash's secret"
    assert why((2, 1, 6), classic) == f"TCP is registered for SOCK_STREAM{secret}"
    assert secret not in why((2, 2, 17), classic) + why((2, 3, 1), classic)


def test_the_capability():
    lacks = "a raw socket needs CAP_NET_RAW in the user namespace that owns the net namespace, which the caller lacks: "
    instead = ", or use SOCK_DGRAM where net.ipv4.ping_group_range allows it"
    assert why((2, 3, 1), cap_net_raw=False) == f"{lacks}run it as root or give it cap_net_raw{instead}"
    assert why((2, 3, 255), cap_net_raw=False) == f"{lacks}run it as root or give it cap_net_raw"
    assert why((10, 3, 1), cap_net_raw=False) == f"{lacks}run it as root or give it cap_net_raw"


@pytest.mark.parametrize(
    ("span", "now"),
    [((1, 0), " (now empty)"), ((0, 0), " (now 0 to 0)"), ((0, 2147483647), " (now 0 to 2147483647)"), (None, "")],
)
def test_the_ping_group(span, now):
    said = why((2, 2, 1), replace(P61, ping_group_range=span))
    assert said == (
        f"no group of the caller's is in net.ipv4.ping_group_range{now}: widen it, or use SOCK_RAW with CAP_NET_RAW"
    )


def test_the_other_rules():
    assert why((2, 1, 262), mptcp_enabled=False) == (
        "MPTCP is switched off in this net namespace: sysctl net.mptcp.enabled=1"
    )
    assert why((2, 1, 132), BUILT_IN_PROFILES["3.x"], initial_netns=False) == (
        "IPPROTO_SCTP (132) does not work outside the initial net namespace on this kernel"
    )
    assert why((2, 1, 263)) == "protocol 263 is outside 0 to 262: IPPROTO_MAX is 263 on this kernel"
    hashed = why((2, 3, 1), failures={"hash": "EADDRINUSE"})
    assert hashed == "RAW's hash function refused the socket with EADDRINUSE"
    assert (
        why((2, 1, 0), failures={"init": "ENOBUFS"}) == "TCP's init function failed with ENOBUFS: there was no memory"
    )
    assert why((2, 1, 0), failures={"init": "ENOBUFS"}, seen=True) == (
        "TCP's init function failed with ENOBUFS: consistent with no memory, which was not observed"
    )
    assert why((2, 13, 0)) == (
        "socket type 13 does not exist, the last is SOCK_PACKET (10): inet_create was not reached"
    )
    assert why((2, 10, 0)) == "socket(AF_INET, SOCK_PACKET) means AF_PACKET: inet_create was not reached"


def test_a_nested_socket():
    class Failing(Machine):
        def allocation_failure(self, entry):
            return "memory" if entry.prot == "TCP" else None

    outcome = inet_create.socket(Failing(P61), 2, 1, 262)
    assert reason(Request(2, 1, 262, P61), outcome) == (
        "the TCP socket that MPTCP makes for itself failed with ENOMEM (alloc-memory)"
    )


def test_the_nested_socket_s_own_requests_are_not_the_outer_one_s():
    calls = inet_create.socket(Machine(P61), 2, 1, 200).calls
    deeper = tuple(c._replace(depth=c.depth + 1) if c.module else c for c in calls)
    outcome = inet_create.socket(Machine(P61), 2, 1, 200)._replace(calls=deeper)
    assert "the kernel asked" not in reason(Request(2, 1, 200, P61), outcome)


def test_a_verdict_has_the_reason_of_what_was_seen():
    outcome = inet_create.socket(Machine(P61), 2, 1, 200)
    calls = tuple(call._replace(result=-2) if call.module else call for call in outcome.calls)
    seen = Seen(2, 1, 200, False, None, outcome.errno, None, calls)
    assert judge(seen, P61).reason == why((2, 1, 200), results=(-2, -2))
    refused = inet_create.socket(Machine(P61, failures={"cgroup": "EPERM"}), 2, 1, 0)
    verdict = judge(Seen(2, 1, 0, False, None, "EPERM", "TCP", refused.calls), P61)
    assert verdict.reason == (
        "after sk_alloc only a BPF program of the caller's cgroup (sock_create) refuses with EPERM, consistent with a "
        "program that was not observed: see bpftool cgroup tree"
    )
    raw = inet_create.socket(Machine(P61, cap_net_raw=False), 2, 3, 1)
    denied = judge(Seen(2, 3, 1, False, True, "EPERM", None, raw.calls), P61)
    assert denied.reason == (
        "the caller's CAP_NET_RAW was refused before sk_alloc: consistent with a security module's denial, which was "
        "not observed: see the audit log"
    )


def test_the_profile_s_own_switch_holds_where_nobody_says_otherwise():
    for enabled in (True, False):
        profile = replace(P61, mptcp_enabled=enabled)
        assert (inet_create.socket(Machine(profile), 2, 1, 262).errno is None) == enabled
    assert inet_create.socket(Machine(replace(P61, mptcp_enabled=None)), 2, 1, 262).errno == "ENOPROTOOPT"


def test_the_edges_of_what_exists():
    assert inet_create.socket(Machine(P61), 2, 0, 0).rule == "type"
    with pytest.raises(ValueError, match="family 0"):
        inet_create.socket(Machine(P61), 0, 1, 0)
    with pytest.raises(ValueError, match="family 45"):
        inet_create.socket(Machine(P61), 45, 1, 0)
    outcome = inet_create.socket(Machine(P61), 2, 0, 0)
    assert judge(Seen(2, 0, 0, False, None, outcome.errno, None, outcome.calls), P61).verdict == "ok"


def test_the_call_that_returned_something_else_is_numbered():
    outcome = inet_create.socket(Machine(P510), 2, 1, 0)
    calls = (*outcome.calls[:2], outcome.calls[2]._replace(pointer="NULL"))
    verdict = judge(Seen(2, 1, 0, False, None, None, "TCP", calls), P510)
    assert verdict.reason == "call 3: expected sk_prot_alloc to return valid, saw NULL"
