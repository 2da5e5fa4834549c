"""Every way that inet_create() can go is judged ok, by the rule that decided; any other trace is a deviation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.uapi import (
    AF_INET,
    IPPROTO_ICMP,
    IPPROTO_MPTCP,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    IPPROTO_UDPLITE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)
from inetprobe.model import inet_create, sys_socket
from inetprobe.model.judge import Seen, judge
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.rules import Rule
from inetprobe.model.ways import Explorer, outcomes
from inetprobe.model.world import Machine
from inetprobe.record.batch import Batch
from inetprobe.record.layout import RECORD_CAP_NET_RAW
from inetprobe.record.nesting import problems
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.verdict import judge as judge_trace
from tests.support.model_source import EVERY_PATH, ModelSource, record

P61, P510 = BUILT_IN_PROFILES["6.1"], BUILT_IN_PROFILES["5.10"]
EACH_KERNEL = pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)

TCP = (AF_INET, SOCK_STREAM, 0)
SCTP = (AF_INET, SOCK_STREAM, IPPROTO_SCTP)
MPTCP = (AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
UNREGISTERED = (AF_INET, SOCK_STREAM, 200)
UDP = (AF_INET, SOCK_DGRAM, 0)
PING = (AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
RAW = (AF_INET, SOCK_RAW, IPPROTO_ICMP)


def seen_of(outcome, request=TCP, *, kern=False, cap=None):
    return Seen(*request, kern, cap, outcome.errno, outcome.prot, outcome.calls)


def traces(profile, requests=EVERY_PATH):
    source = ModelSource(profile, requests)
    for batch in source.batches():
        assert not problems(batch, source.run).any()
        yield from call_traces(batch, source.run)


@EACH_KERNEL
def test_every_way_is_judged_ok(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    verdicts = [judge_trace(trace, profile) for trace in traces(profile)]
    assert len(verdicts) > 500
    assert {verdict.verdict for verdict in verdicts} == {"as_predicted"}


@EACH_KERNEL
def test_every_way_of_a_kernel_whose_compiler_inlined_sk_prot_alloc_is_judged_ok(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    inlined = replace(profile, features=replace(profile.features, sk_prot_alloc=False))
    without = list(traces(inlined))
    assert {judge_trace(trace, inlined).verdict for trace in without} == {"as_predicted"}
    allocated = [[call.function for call in trace.calls].count("sk_alloc") for trace in without]
    assert "sk_prot_alloc" not in {call.function for trace in without for call in trace.calls}
    # The same ways, less that call: each is a deviation on a kernel that has the function, if it came so far.
    assert len(without) == len(list(traces(profile)))
    assert [judge_trace(trace, profile).verdict == "deviation" for trace in without] == [n > 0 for n in allocated]


@EACH_KERNEL
def test_an_inlined_sk_prot_alloc_is_not_in_the_explained_trace(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    inlined = replace(profile, features=replace(profile.features, sk_prot_alloc=False))
    for failures, pointer in (({}, "valid"), ({"alloc": "memory"}, "NULL")):
        outcome = sys_socket.socket(Machine(inlined, failures=failures), *TCP)
        assert [call.function for call in outcome.calls] == ["inet_create", "sk_alloc"]
        assert outcome.calls[1].pointer == pointer


def test_the_ways_reach_every_rule_of_inet_create():
    """A socket() that is refused before inet_create() reaches no probe."""
    rules = {
        outcome.rule
        for profile in BUILT_IN_PROFILES.values()
        for family, type_, protocol, kern in EVERY_PATH
        for outcome in outcomes(Explorer(profile), family, type_, protocol, kern=kern)
    }
    packet = {Rule.PACKET, Rule.PACKET_CAP_NET_RAW, Rule.FAMILY_CREATE}
    of_create = {rule for rule in Rule if rule.stage in ("create", None)}
    assert rules == of_create - packet - {Rule.CAP_NET_RAW_DENIED}


@EACH_KERNEL
def test_record_holds_the_outcome(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    for request in EVERY_PATH:
        family, type_, protocol, kern = request
        for outcome in dict.fromkeys(outcomes(Explorer(profile, True), family, type_, protocol, kern=kern)):
            made = record(request, True if type_ == SOCK_RAW else None, outcome)
            source = ModelSource(profile, ())
            assert not problems(Batch(made), source.run).any()
            (trace,) = call_traces(Batch(made), source.run)
            assert (trace.errno, trace.prot, trace.kernel_socket) == (outcome.errno, outcome.prot, kern)
            calls = tuple((c.function, c.depth, c.result, c.pointer, c.module) for c in trace.calls)
            assert calls == tuple(map(tuple, outcome.calls))
            assert trace.duration_ns > 0
            assert trace.cap_net_raw is (True if type_ == SOCK_RAW else None)


@given(st.data())
def test_missing_call_is_a_deviation(data):
    request = data.draw(st.sampled_from([UNREGISTERED, TCP, RAW, MPTCP, (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE)]))
    outcome = sys_socket.socket(Machine(P61, mptcp_enabled=True), *request)
    drop = data.draw(st.integers(1, len(outcome.calls) - 1))
    calls = outcome.calls[:drop] + outcome.calls[drop + 1 :]
    verdict = judge(seen_of(outcome._replace(calls=calls), request), P61)
    assert verdict.verdict == "deviation"
    # It names the missing call, or the one that took its place.
    assert verdict.why.reason.startswith("call ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda o: o._replace(errno="EINVAL", calls=(o.calls[0]._replace(result=-22), *o.calls[1:])), "0, saw -22"),
        (lambda o: o._replace(calls=(o.calls[0], o.calls[1]._replace(pointer="NULL"), o.calls[2])), "saw NULL"),
        (lambda o: o._replace(entry=o.entry._replace(prot="UDP")), "expected the struct proto TCP, saw UDP"),
        (lambda o: o._replace(entry=None), "expected the struct proto TCP, saw None"),
        (lambda o: o._replace(calls=(*o.calls, o.calls[2])), "call 4: expected no further call, saw sk_prot_alloc()"),
        (lambda o: o._replace(calls=o.calls[:2]), "call 3: expected sk_prot_alloc() at depth 2, saw no further call"),
        (lambda o: o._replace(calls=(*o.calls[:2], o.calls[2]._replace(depth=1))), "at depth 2, saw sk_prot_alloc()"),
    ],
)  # fmt: skip
def test_reason_names_the_difference(change, reason):
    outcome = change(sys_socket.socket(Machine(P510), *TCP))
    verdict = judge(seen_of(outcome), P510)
    assert verdict.verdict == "deviation"
    assert verdict.rule is None
    assert reason in verdict.why.reason


def test_wrong_module_is_a_deviation():
    outcome = sys_socket.socket(Machine(P61), *UNREGISTERED)
    calls = (*outcome.calls[:2], outcome.calls[2]._replace(module="net-pf-10-proto-200"))
    verdict = judge(seen_of(outcome._replace(calls=calls), UNREGISTERED), P61)
    assert "expected __request_module(net-pf-2-proto-200)" in verdict.why.reason


@pytest.mark.parametrize("result", [0, 256, -2, -512, 65280])
def test_result_of_modprobe_decides_nothing(result):
    outcome = sys_socket.socket(Machine(P61), *UNREGISTERED)
    calls = tuple(call if call.module is None else call._replace(result=result) for call in outcome.calls)
    verdict = judge(seen_of(outcome._replace(calls=calls), UNREGISTERED), P61)
    assert (verdict.verdict, verdict.rule) == ("as_predicted", Rule.PROTOCOL)


@pytest.mark.parametrize(
    ("held", "recorded", "verdict", "rule"),
    [
        pytest.param(True, True, "as_predicted", Rule.CREATED, id="created with it"),
        pytest.param(True, None, "as_predicted", Rule.CREATED, id="created, not recorded"),
        pytest.param(True, False, "deviation", None, id="created without it"),
        pytest.param(False, False, "as_predicted", Rule.CAP_NET_RAW, id="refused without it"),
        pytest.param(False, None, "as_predicted", Rule.CAP_NET_RAW, id="refused, not recorded"),
        pytest.param(False, True, "as_predicted", Rule.CAP_NET_RAW_DENIED, id="refused with it"),
    ],
)
def test_capability_of_a_raw_socket(held, recorded, verdict, rule):
    outcome = sys_socket.socket(Machine(P61, cap_net_raw=held), *RAW)
    judged = judge(seen_of(outcome, RAW, cap=recorded), P61)
    assert (judged.verdict, judged.rule) == (verdict, rule)


def test_datagram_socket_is_never_denied_for_the_capability():
    refused = sys_socket.socket(Machine(P61, cap_net_raw=False), *RAW)
    assert judge(seen_of(refused, UDP, cap=True), P61).verdict == "deviation"


@pytest.mark.parametrize(
    ("kernel", "request_", "errno", "rule"),
    [
        ("6.1", PING, "EACCES", Rule.PING_GROUP),
        ("6.1", TCP, "EPERM", Rule.CGROUP),
        ("6.1", TCP, "EACCES", Rule.CGROUP),
        ("6.1", TCP, "ENOMEM", Rule.INIT),
        ("6.1", MPTCP, "ENOPROTOOPT", Rule.MPTCP_DISABLED),
        ("5.10", TCP, "EPERM", Rule.CGROUP),
        ("5.10", PING, "EACCES", Rule.PING_GROUP),
        ("5.10", TCP, "EACCES", None),
        ("3.x", TCP, "EPERM", None),
    ],
)
def test_errno_after_sk_alloc(kernel, request_, errno, rule):
    profile = BUILT_IN_PROFILES[kernel]
    made = sys_socket.socket(Machine(profile, ping_group_allowed=True, mptcp_enabled=False), *request_)
    assert judge(seen_of(with_errno(made, errno), request_), profile).rule == rule


OPEN = replace(P61, features=replace(P61.features, alloc_errno=None, mptcp_nested=None))


def with_errno(outcome, errno):
    result = inet_create.negative(errno)
    return outcome._replace(errno=errno, calls=(outcome.calls[0]._replace(result=result), *outcome.calls[1:]))


@pytest.mark.parametrize(("errno", "verdict"), [("ENOMEM", "as_predicted"), ("ENOBUFS", "deviation")])
def test_either_errno_of_sk_alloc_is_ok_if_the_features_leave_it_open(errno, verdict):
    failed = sys_socket.socket(Machine(P61, failures={"alloc": "memory"}), *TCP)
    seen = seen_of(with_errno(failed, errno))
    assert judge(seen, OPEN).rule is Rule.ALLOC_MEMORY
    assert judge(seen, P61).verdict == verdict


@pytest.mark.parametrize("nested", [False, True])
def test_a_subflow_or_none_is_ok_if_the_features_leave_it_open(nested):
    profile = replace(OPEN, features=replace(P61.features, mptcp_nested=nested))
    outcome = sys_socket.socket(Machine(profile, mptcp_enabled=True), *MPTCP)
    assert judge(seen_of(outcome, MPTCP), OPEN).verdict == "as_predicted"


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_another_process_may_load_the_module_before_any_lookup(requests):
    """``requests``: how many this socket made before the module was there."""
    outcome = sys_socket.socket(Machine(P61), *SCTP)
    calls = (outcome.calls[0], *outcome.calls[1 : 1 + requests], *outcome.calls[3:])
    assert judge(seen_of(outcome._replace(calls=calls), SCTP), P61).verdict == "as_predicted"


@pytest.mark.parametrize("errno", ["ESOCKTNOSUPPORT", "EPROTONOSUPPORT"])
def test_a_type_with_modules_only_may_have_entries_or_none(errno):
    request = (AF_INET, SOCK_SEQPACKET, IPPROTO_ICMP)
    missed = with_errno(sys_socket.socket(Machine(P61), *request), errno)
    assert judge(seen_of(missed, request), P61).verdict == "as_predicted"


def unknown(**changes):
    return Seen(*TCP, False, None, None, None, ())._replace(**changes)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (unknown(family=1), "family 1"),
        (unknown(type=11), "socket type 11"),
        (unknown(type=-1), "socket type -1"),
        (unknown(prot="HOMA"), "no rule for the struct proto 'HOMA'"),
        (unknown(protocol=IPPROTO_SMC, prot="INET_SMC"), "INET_SMC came from smc"),
    ],
)
def test_unmodelled(seen, reason):
    verdict = judge(seen, P61)
    assert verdict.verdict == "unmodelled"
    assert reason in verdict.why.reason


def test_calls_of_other_functions_are_left_out():
    """--also adds calls in between; the calls within those are one deeper."""
    trace = next(traces(P510, [(AF_INET, SOCK_STREAM, IPPROTO_TCP, False)]))
    call = trace.calls[1]
    inner = [c._replace(depth=c.depth + 1) for c in trace.calls[1:]]
    other = call._replace(function="sock_create_lite", depth=1, result=0, pointer=None)
    after = call._replace(function="tcp_v4_init_sock", depth=1, result=0, pointer=None)
    more = trace._replace(calls=(trace.calls[0], other, *inner, after, after._replace(depth=2)))
    assert judge_trace(more, P510) == judge_trace(trace, P510)
    assert judge_trace(more, P510).verdict == "as_predicted"


def test_incomplete_trace_is_not_judged():
    trace = next(traces(P61, [(*TCP, False)]))
    assert judge_trace(trace._replace(incomplete="return_missed"), P61).verdict == "incomplete"


def test_bare_sock_is_not_judged():
    trace = next(traces(P61, [(*TCP, False)]))
    assert judge_trace(trace._replace(bare=True), P61).verdict == "unmodelled"


def test_a_create_that_was_not_seen_is_told_from_another_family():
    trace = next(traces(P61, [(*TCP, False)]))
    sock = trace._replace(bare=True, calls=trace.calls[1:])
    assert "no create was seen to make this sock" in judge_trace(sock, P61).why.reason
    assert "another family" in judge_trace(sock._replace(family=1), P61).why.reason
    accepted = sock._replace(calls=trace.calls[2:])
    assert "an accepted connection" in judge_trace(accepted, P61).why.reason


def test_trace_without_a_profile_is_not_judged():
    trace = next(traces(P61, [(*TCP, False)]))
    assert "no profile" in judge_trace(trace, None).why.reason


def test_record_has_the_capability_of_a_raw_socket():
    assert {trace.cap_net_raw for trace in traces(P61, [(*RAW, False)])} == {True, False}
    assert {trace.cap_net_raw for trace in traces(P61, [(*TCP, False)])} == {None}
    made = record((*RAW, False), True, sys_socket.socket(Machine(P61), *RAW))
    assert np.all(made["flags"] & RECORD_CAP_NET_RAW)


def test_source_can_be_stopped():
    source = ModelSource(P61, EVERY_PATH)
    batches = source.batches()
    first = next(batches)
    source.stop()
    assert not list(batches)
    assert source.accounting().complete == len(first)
    assert not source.accounting().unaccounted()
