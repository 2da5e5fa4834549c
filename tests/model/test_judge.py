"""Every way the path can go is judged as what it is; anything else is a deviation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.model import inet_create
from inetprobe.model.judge import Seen, judge
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.reasons import RULES
from inetprobe.model.ways import Explorer, outcomes
from inetprobe.model.world import Machine
from inetprobe.record.batch import Batch
from inetprobe.record.layout import RECORD_CAP_NET_RAW
from inetprobe.record.nesting import problems
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.verdict import judge as judge_trace
from tests.support.model_source import EVERY_PATH, ModelSource, record

P61, P510 = BUILT_IN_PROFILES["6.1"], BUILT_IN_PROFILES["5.10"]
KERNELS = pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)


def seen_of(outcome, request=(2, 1, 0), *, kern=False, cap=None):
    return Seen(*request, kern, cap, outcome.errno, outcome.prot, outcome.calls)


def traces(profile, requests=EVERY_PATH):
    source = ModelSource(profile, requests)
    for batch in source.batches():
        assert not problems(batch, source.run).any()
        yield from call_traces(batch, source.run)


@KERNELS
def test_every_path_of_the_model_is_judged_ok(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    verdicts = [judge_trace(trace, profile) for trace in traces(profile)]
    assert len(verdicts) > 500
    assert {verdict.verdict for verdict in verdicts} == {"ok"}


def test_the_paths_reach_every_rule():
    """Those of inet_create(): what socket() itself refuses reaches no probe."""
    rules = {
        outcome.rule
        for profile in BUILT_IN_PROFILES.values()
        for family, type_, protocol, kern in EVERY_PATH
        for outcome in outcomes(Explorer(profile), family, type_, protocol, kern=kern)
    }
    outside = {"flags", "family", "type-range", "packet", "packet-cap-net-raw", "cap-net-raw-denied"}
    assert rules == set(RULES) - outside


@KERNELS
def test_a_record_holds_what_the_model_said(kernel):
    profile = BUILT_IN_PROFILES[kernel]
    for request in EVERY_PATH:
        family, type_, protocol, kern = request
        for outcome in dict.fromkeys(outcomes(Explorer(profile, True), family, type_, protocol, kern=kern)):
            made = record(request, True if type_ == 3 else None, outcome)
            source = ModelSource(profile, ())
            assert not problems(Batch(made), source.run).any()
            (trace,) = call_traces(Batch(made), source.run)
            assert (trace.errno, trace.prot, trace.kernel_socket) == (outcome.errno, outcome.prot, kern)
            calls = tuple((c.function, c.depth, c.result, c.pointer, c.module) for c in trace.calls)
            assert calls == tuple(map(tuple, outcome.calls))
            assert trace.duration_ns > 0
            assert trace.cap_net_raw is (True if type_ == 3 else None)


@given(st.data())
def test_a_call_too_few_is_a_deviation(data):
    request = data.draw(st.sampled_from([(2, 1, 200), (2, 1, 0), (2, 3, 1), (2, 1, 262), (2, 2, 136)]))
    outcome = inet_create.socket(Machine(P61, mptcp_enabled=True), *request)
    drop = data.draw(st.integers(1, len(outcome.calls) - 1))
    calls = outcome.calls[:drop] + outcome.calls[drop + 1 :]
    verdict = judge(seen_of(outcome._replace(calls=calls), request), P61)
    assert verdict.verdict == "deviation"
    # What was dropped, or, where that cannot be told, what stands in its place.
    assert verdict.reason.startswith("call ")


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
def test_what_differs_is_named(change, reason):
    outcome = change(inet_create.socket(Machine(P510), 2, 1, 0))
    verdict = judge(seen_of(outcome), P510)
    assert verdict.verdict == "deviation"
    assert verdict.rule is None
    assert reason in verdict.reason


def test_the_wrong_module_is_a_deviation():
    outcome = inet_create.socket(Machine(P61), 2, 1, 200)
    calls = (*outcome.calls[:2], outcome.calls[2]._replace(module="net-pf-10-proto-200"))
    verdict = judge(seen_of(outcome._replace(calls=calls), (2, 1, 200)), P61)
    assert "expected __request_module(net-pf-2-proto-200)" in verdict.reason


@pytest.mark.parametrize("result", [0, 256, -2, -512, 65280])
def test_what_modprobe_said_decides_nothing(result):
    outcome = inet_create.socket(Machine(P61), 2, 1, 200)
    calls = tuple(call if call.module is None else call._replace(result=result) for call in outcome.calls)
    verdict = judge(seen_of(outcome._replace(calls=calls), (2, 1, 200)), P61)
    assert (verdict.verdict, verdict.rule) == ("ok", "protocol")


def test_raw_without_the_capability_must_fail():
    made = inet_create.socket(Machine(P61), 2, 3, 1)
    refused = inet_create.socket(Machine(P61, cap_net_raw=False), 2, 3, 1)
    assert judge(seen_of(made, (2, 3, 1), cap=False), P61).verdict == "deviation"
    assert judge(seen_of(made, (2, 3, 1), cap=True), P61).rule == "created"
    assert judge(seen_of(made, (2, 3, 1)), P61).rule == "created"
    assert judge(seen_of(refused, (2, 3, 1), cap=False), P61).rule == "cap-net-raw"
    assert judge(seen_of(refused, (2, 3, 1)), P61).rule == "cap-net-raw"
    denied = judge(seen_of(refused, (2, 3, 1), cap=True), P61)
    assert (denied.verdict, denied.rule) == ("ok", "cap-net-raw-denied")
    # Not for a datagram, whatever its caller holds.
    datagram = refused._replace(errno="EPERM")
    assert judge(seen_of(datagram, (2, 2, 0), cap=True), P61).verdict == "deviation"


@pytest.mark.parametrize(
    ("kernel", "request_", "errno", "rule"),
    [
        ("6.1", (2, 2, 1), "EACCES", "ping-group"),
        ("6.1", (2, 1, 0), "EPERM", "cgroup"),
        ("6.1", (2, 1, 0), "EACCES", "cgroup"),
        ("6.1", (2, 1, 0), "ENOMEM", "init"),
        ("6.1", (2, 1, 262), "ENOPROTOOPT", "mptcp-disabled"),
        ("5.10", (2, 1, 0), "EPERM", "cgroup"),
        ("5.10", (2, 2, 1), "EACCES", "ping-group"),
        ("5.10", (2, 1, 0), "EACCES", None),
        ("3.x", (2, 1, 0), "EPERM", None),
    ],
)
def test_an_errno_after_sk_alloc(kernel, request_, errno, rule):
    profile = BUILT_IN_PROFILES[kernel]
    made = inet_create.socket(Machine(profile, ping_group_allowed=True, mptcp_enabled=False), *request_)
    calls = (made.calls[0]._replace(result=inet_create.negative(errno)), *made.calls[1:])
    assert judge(seen_of(made._replace(errno=errno, calls=calls), request_), profile).rule == rule


def test_a_kernel_that_does_not_tell_may_return_either():
    profile = replace(P61, features=replace(P61.features, alloc_errno=None, mptcp_nested=None))
    for errno in ("ENOMEM", "ENOBUFS"):
        outcome = inet_create.socket(Machine(P61, failures={"alloc": "memory"}), 2, 1, 0)
        calls = (outcome.calls[0]._replace(result=inet_create.negative(errno)), *outcome.calls[1:])
        seen = seen_of(outcome._replace(errno=errno, calls=calls))
        assert judge(seen, profile).rule == "alloc-memory"
        assert judge(seen, P61).verdict == ("ok" if errno == "ENOMEM" else "deviation")
    for nested in (False, True):
        either = replace(profile, features=replace(P61.features, mptcp_nested=nested))
        outcome = inet_create.socket(Machine(either, mptcp_enabled=True), 2, 1, 262)
        assert judge(seen_of(outcome, (2, 1, 262)), profile).verdict == "ok"


def test_a_module_may_have_come_at_any_time():
    """Loaded by somebody else before, between or after this caller's own requests."""
    full = inet_create.socket(Machine(P61), 2, 1, 132)
    for calls in (full.calls, (full.calls[0], *full.calls[2:]), (full.calls[0], *full.calls[3:])):
        own = tuple(c._replace(module="net-pf-2-proto-132-type-1") if c.module else c for c in calls[:2]) + calls[2:]
        assert judge(seen_of(full._replace(calls=own), (2, 1, 132)), P61).verdict == "ok"
    # And a type that has only modules may be empty or not.
    for errno in ("ESOCKTNOSUPPORT", "EPROTONOSUPPORT"):
        missed = inet_create.socket(Machine(P61), 2, 5, 1)
        calls = (missed.calls[0]._replace(result=inet_create.negative(errno)), *missed.calls[1:])
        assert judge(seen_of(missed._replace(errno=errno, calls=calls), (2, 5, 1)), P61).verdict == "ok"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Seen(1, 1, 0, False, None, None, None, ()), "family 1"),
        (Seen(2, 11, 0, False, None, None, None, ()), "socket type 11"),
        (Seen(2, -1, 0, False, None, None, None, ()), "socket type -1"),
        (Seen(2, 1, 0, False, None, None, "HOMA", ()), "no rule for the struct proto 'HOMA'"),
        (Seen(2, 1, 256, False, None, None, "INET_SMC", ()), "INET_SMC came from smc"),
    ],
)
def test_what_the_model_does_not_know(seen, reason):
    verdict = judge(seen, P61)
    assert verdict.verdict == "unmodelled"
    assert reason in verdict.reason


def test_calls_of_other_functions_do_not_matter():
    """--also puts calls in between, which take what they call one deeper."""
    trace = next(traces(P510, [(2, 1, 6, False)]))
    call = trace.calls[1]
    inner = [c._replace(depth=c.depth + 1) for c in trace.calls[1:]]
    other = call._replace(function="sock_create_lite", depth=1, result=0, pointer=None)
    after = call._replace(function="tcp_v4_init_sock", depth=1, result=0, pointer=None)
    more = trace._replace(calls=(trace.calls[0], other, *inner, after, after._replace(depth=2)))
    assert judge_trace(more, P510) == judge_trace(trace, P510)
    assert judge_trace(more, P510).verdict == "ok"


def test_an_incomplete_trace_is_not_judged():
    trace = next(traces(P61, [(2, 1, 0, False)]))
    assert judge_trace(trace._replace(incomplete="return_missed"), P61).verdict == "incomplete"
    assert judge_trace(trace._replace(bare=True), P61).verdict == "unmodelled"
    assert "no profile" in judge_trace(trace, None).reason


def test_the_capability_is_in_the_record():
    held = [t.cap_net_raw for t in traces(P61, [(2, 3, 1, False)])]
    assert set(held) == {True, False}
    assert {t.cap_net_raw for t in traces(P61, [(2, 1, 0, False)])} == {None}
    made = record((2, 3, 1, False), True, inet_create.socket(Machine(P61), 2, 3, 1))
    assert np.all(made["flags"] & RECORD_CAP_NET_RAW)


def test_a_source_can_be_stopped():
    source = ModelSource(P61, EVERY_PATH)
    batches = source.batches()
    first = next(batches)
    source.stop()
    assert not list(batches)
    assert source.accounting().complete == len(first)
    assert not source.accounting().unaccounted()
