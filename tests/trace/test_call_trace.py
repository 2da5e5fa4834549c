import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record.batch import Batch, Loss
from inetprobe.record.layout import RECORD
from inetprobe.record.nesting import Problem, nested, problems
from inetprobe.trace.call_trace import call_traces
from tests.support import builders


@st.composite
def nestings(draw):
    """Well-formed calls: each inside its parent, in order of entry, at most as many as a record has room for."""
    calls = []

    def grow(depth, start, end):
        calls.append(builders.call(draw(st.integers(0, 4)), depth, start, end - start, draw(st.integers(-200, 256))))
        at = start
        while len(calls) < 8 and end - at > 2 and draw(st.booleans()):
            child = draw(st.integers(at, end - 1))
            at = draw(st.integers(child, end))
            grow(depth + 1, child, at)

    grow(0, 0, draw(st.integers(1, 10**11)))
    return calls


@given(nestings())
def test_any_well_formed_nesting_survives(calls):
    (trace,) = call_traces(Batch(builders.record(calls)), builders.run())
    assert [(c.depth, c.start_ns, c.duration_ns, c.result) for c in trace.calls] == [
        (depth, start, duration, result) for start, duration, result, _, depth, *_ in calls
    ]
    for index, call in enumerate(trace.calls[1:], 1):
        parent = next(c for c in reversed(trace.calls[:index]) if c.depth == call.depth - 1)
        assert parent.start_ns <= call.start_ns
        assert call.start_ns + call.duration_ns <= parent.start_ns + parent.duration_ns


@given(st.binary(min_size=RECORD.itemsize, max_size=RECORD.itemsize))
def test_random_bytes_are_a_call_trace_or_malformed(data):
    batch, malformed = nested(Batch(np.frombuffer(data, RECORD)), builders.run())
    assert len(batch) + len(malformed) == 1
    assert [trace.calls[0].depth for trace in call_traces(batch, builders.run())] == [0] * len(batch)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r.__setitem__("ncalls", 0), Problem.COUNT),
        (lambda r: r.__setitem__("ncalls", 9), Problem.COUNT),
        (lambda r: r["calls"]["depth"].__setitem__((0, 0), 1), Problem.FIRST_DEPTH),
        (lambda r: r["calls"]["depth"].__setitem__((0, 2), 3), Problem.DEPTH),
        (lambda r: r["calls"]["depth"].__setitem__((0, 1), 0), Problem.DEPTH),
        (lambda r: r["calls"]["start_ns"].__setitem__((0, 2), 5), Problem.ORDER),
        (lambda r: r["calls"]["duration_ns"].__setitem__((0, 1), 10**6), Problem.END),
        (lambda r: r["calls"]["function"].__setitem__((0, 1), 77), Problem.FUNCTION),
    ],
)
def test_each_rule_is_enforced(change, problem):
    record = builders.created()
    assert problems(Batch(record), builders.run()).tolist() == [0]
    change(record)
    assert problems(Batch(record), builders.run()).tolist() == [problem]
    batch, malformed = nested(Batch(np.concatenate([builders.created(), record])), builders.run())
    assert (len(batch), malformed.tolist(), batch.losses) == (1, [1], (Loss("malformed", 1),))


def test_traces_of_every_kind_of_record():
    traces = list(call_traces(Batch(builders.every_kind()), builders.run()))
    assert [trace.errno for trace in traces] == [
        None,
        None,
        "EPERM",
        None,
        "EPROTONOSUPPORT",
        None,
        None,
        "ENOMEM",
        *[None] * 4,
    ]
    assert [call.module for call in traces[3].calls] == [
        None,
        "net-pf-2-proto-132-type-1",
        "net-pf-2-proto-132",
        None,
        None,
    ]
    assert traces[8].incomplete == "return_missed"
    assert traces[8].duration_ns is None
    assert traces[7].calls[1].pointer == "NULL"
    assert (traces[10].bare, traces[10].softirq, traces[10].type, traces[10].protocol) == (True, False, None, None)
    assert (traces[11].bare, traces[11].softirq, traces[11].netns) == (True, True, None)
    assert traces[9].comm == 'a\x1b[31m\n\\xff\\\\"'


def test_a_name_ends_at_its_nul():
    record = builders.created(prot=b"TCP\0garbage")
    (trace,) = call_traces(Batch(record), builders.run())
    assert trace.prot == "TCP"


def test_no_records_no_traces():
    assert list(call_traces(Batch(np.zeros(0, RECORD)), builders.run())) == []
