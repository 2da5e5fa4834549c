"""The rules on whole batches, compared with a check of one record and one call at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.record.batch import Batch
from inetprobe.record.layout import CALL_RETURNED, RECORD, SLOTS
from inetprobe.record.nesting import problems
from tests.support import builders

KINDS = builders.every_kind()
LIMIT = 2**64


def broken(record, functions):
    """The numbers of the rules that a record breaks."""
    found = set()
    n = int(record["ncalls"])
    if not 1 <= n <= SLOTS:
        found.add(1)
    ends = []  # (depth, end) of the calls that are open, those that were not seen to return without an end
    before = None
    for slot in range(min(n, SLOTS)):
        start, duration, _, function, depth, flags = (
            int(record["calls"][slot][part]) for part in RECORD["calls"].base.names[:6]
        )
        if slot == 0 and depth != 0:
            found.add(2)
        if slot > 0 and not 1 <= depth <= before[1] + 1:
            found.add(3)
        if slot > 0 and start < before[0]:
            found.add(4)
        if function not in functions:
            found.add(6)
        while ends and ends[-1][0] >= depth:
            ends.pop()
        returned = bool(flags & CALL_RETURNED)
        end = start + duration if returned else start
        limit = next((one for _, one in reversed(ends) if one is not None), LIMIT - 1)
        if end > limit or end >= LIMIT:
            found.add(5)
        ends.append((depth, end if returned else None))
        before = start, depth
    return found


def checked(records):
    run = builders.run()
    codes = problems(Batch(records), run).tolist()
    for code, record in zip(codes, records, strict=True):
        rules = broken(record, run.functions)
        # What lies below a call that is nowhere has no parent to be compared with.
        assert code == min(rules, default=0) or (rules - {5} and code == min(rules - {5}))
        assert (code == 0) == (not rules)


@st.composite
def nearly(draw):
    """Calls that mostly nest: each, with exceptions, deeper, later and shorter than the one before."""
    calls, depth, start = [], 0, draw(st.integers(0, 2))
    for duration in draw(st.lists(st.sampled_from([9, 8, 7, 6, 5, 4, 2, 0, 2**64 - 1]), min_size=1, max_size=9)):
        function = draw(st.sampled_from([0, 2, 2, 2, 3, 3, 3, 4, 77]))
        calls.append((start, duration, 0, function, depth, draw(st.sampled_from([1, 1, 0])), 0, 0, 0, 0))
        start = max(0, start + draw(st.sampled_from([0, 0, 1, 1, 2, -1])))
        depth = max(0, depth + draw(st.sampled_from([1, 1, 1, 0, -1, -2, 2])))
    return calls


@settings(max_examples=500)
@given(st.lists(nearly(), max_size=4))
def test_a_batch_is_checked_as_each_record_alone(batch):
    records = np.zeros(len(batch), RECORD)
    for record, made in zip(records, batch, strict=True):
        record["ncalls"] = len(made)
        record["calls"][: len(made)] = made[:SLOTS]
    checked(records)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ([(5, 2**64 - 6, 1, 0)], 0),
        ([(5, 2**64 - 5, 1, 0)], 5),  # it ends beyond 64 bits
        ([(0, 0, 0, 0), (7, 9, 1, 1)], 0),  # what was not seen to return sets no limit
        ([(0, 9, 1, 0), (1, 0, 0, 1), (2, 7, 1, 2)], 0),
        ([(0, 9, 1, 0), (1, 0, 0, 1), (2, 8, 1, 2)], 5),  # but the one that it is in does
        ([(0, 9, 1, 0), (1, 3, 1, 1), (2, 1, 1, 2), (4, 5, 1, 1)], 0),
        ([(0, 9, 1, 0), (1, 3, 1, 1), (2, 1, 1, 2), (4, 6, 1, 1)], 5),
        ([(0, 9, 1, 0), (1, 3, 1, 1), (2, 1, 1, 2), (4, 1, 1, 0)], 3),
    ],
)
def test_how_long_a_call_may_last(calls, code):
    made = builders.record([(start, ns, 0, 2, depth, seen, 0, 0, 0, 0) for start, ns, seen, depth in calls])
    assert problems(Batch(np.concatenate([builders.created(), made])), builders.run()).tolist() == [0, code]
    checked(made)


changes = st.tuples(
    st.integers(0),
    st.integers(0, SLOTS - 1),
    st.sampled_from(["start_ns", "duration_ns", "depth", "flags"]),
    st.integers(0, 255),
)


@given(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=20), st.lists(changes, max_size=4))
def test_a_malformed_record_does_not_affect_the_others(places, changes):
    records = KINDS[np.array(places)].copy()
    for row, slot, name, value in changes:
        records["calls"][name][row % len(records), slot] = value
    checked(records)


@given(
    st.binary(min_size=RECORD.itemsize, max_size=4 * RECORD.itemsize).map(
        lambda b: b[: len(b) - len(b) % RECORD.itemsize]
    )
)
def test_random_calls_are_checked_as_each_record_alone(data):
    checked(np.frombuffer(data, RECORD))
