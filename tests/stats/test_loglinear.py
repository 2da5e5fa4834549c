"""Histograms, compared with the values themselves."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.stats.loglinear import BUCKETS, LogLinear, bounds, bucket

NS = st.one_of(st.integers(0, 200), st.integers(0, (1 << 64) - 1), st.integers(0, 64).map(lambda bit: (1 << bit) - 1))


@given(st.lists(NS, min_size=1))
def test_every_value_lies_in_its_bucket(values):
    for value, number in zip(values, bucket(np.array(values, np.uint64)).tolist(), strict=True):
        least, most = bounds(number)
        assert least <= value <= most
        assert (most - least) * 32 <= least or most == least


def test_the_buckets_have_no_gap_and_end_with_64_bits():
    ends = [bounds(number) for number in range(BUCKETS)]
    assert ends[0][0] == 0
    assert ends[-1][1] == (1 << 64) - 1
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(ends))


@given(st.lists(st.lists(NS, max_size=30), min_size=1, max_size=4).filter(any))
def test_a_latency_is_that_of_the_values(lists):
    histograms = LogLinear()
    for values in lists:
        histograms.add(np.full(len(values), 3), np.array(values, np.uint64))
    together = sorted(value for values in lists for value in values)
    found = histograms.latency(3)
    assert (found.calls, found.min_ns, found.max_ns) == (len(together), together[0], together[-1])
    assert found.sum_ns == sum(together)
    for percent, near in ((50, found.p50_ns), (99, found.p99_ns)):
        exact = together[math.ceil(len(together) * percent / 100) - 1]
        assert abs(near - exact) <= exact / 64
    assert sum(count for _, _, count in histograms.buckets(3)) == len(together)


@given(st.lists(st.tuples(st.integers(0, 5), NS), min_size=1), st.integers(0, 60))
def test_merging_equals_adding_to_one(pairs, cut):
    def of(some):
        histograms = LogLinear()
        histograms.add(np.array([row for row, _ in some], int), np.array([value for _, value in some], np.uint64))
        return histograms

    together, one, other = of(pairs), of(pairs[:cut]), of(pairs[cut:])
    for row in range(6):
        one.merge(row, other, row)
        assert one.latency(row) == together.latency(row)
        assert list(one.buckets(row)) == list(together.buckets(row))


def test_rows_not_kept_are_summed_in_row_0():
    histograms = LogLinear()
    histograms.add(np.array([0, 1, 2, 3]), np.array([5, 100, 1000, 10_000], np.uint64))
    kept = histograms.keep([2])
    assert kept.latency(1) == histograms.latency(2)
    assert (kept.latency(0).calls, kept.latency(0).sum_ns, kept.latency(0).max_ns) == (3, 10_105, 10_000)


def test_an_empty_row_has_no_latency():
    filled = LogLinear()
    filled.add(np.array([1]), np.array([7], np.uint64))
    assert [filled.latency(row) for row in (0, 99)] == [None, None]
    assert filled.latency(1) == (1, 7, 7, 7, 7, 7)
