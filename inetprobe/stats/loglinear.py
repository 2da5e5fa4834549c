"""Histograms of durations whose buckets grow with the value: any quantile, accurate to 1.6 %, of any number of values.

Each value below 64 ns has its own bucket. Above, each power of two is split into 32 buckets of equal width, so that the
middle of a bucket differs from any value in it by at most 1/64. The range of 64 bits takes 1,920 buckets, 15 kB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_SPLIT = 5  # bits: 32 buckets per octave
BUCKETS = (64 - _SPLIT) * (1 << _SPLIT) + (1 << _SPLIT)
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)

Ns = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


class Latency(NamedTuple):
    """Durations in nanoseconds; ``p50_ns`` and ``p99_ns`` are accurate to 1.6 %, everything else is exact."""

    calls: int
    p50_ns: int
    p99_ns: int
    min_ns: int
    max_ns: int
    sum_ns: int


def bucket(values: Ns) -> Rows:
    """The number of each value's bucket, ``[values]``."""
    # With the bit below the highest bit clear, the float does not round up, and its exponent is the highest bit's.
    _, exponent = np.frexp((values & ~(values >> np.uint64(1))).astype(np.float64))
    shift = np.maximum(exponent - (_SPLIT + 1), 0)
    result: Rows = (values >> shift.astype(np.uint64)).astype(np.int64) + (shift.astype(np.int64) << _SPLIT)
    return result


def bounds(number: int) -> tuple[int, int]:
    """The lowest and the highest value of a bucket."""
    shift = max((number >> _SPLIT) - 1, 0)
    least = number - (shift << _SPLIT) << shift
    return least, least + (1 << shift) - 1


def sums(groups: Rows, values: Ns, count: int) -> list[int]:
    """The exact sum of the values of each of ``count`` groups. ``groups`` is the group of each value; there are at most
    2^20 values."""
    # By halves: floats hold the sum of this many 32-bit numbers exactly.
    high, low = (
        np.bincount(groups, half.astype(np.float64), minlength=count).tolist()
        for half in (values >> _HIGH, values & _LOW)
    )
    return [(int(above) << 32) + int(below) for above, below in zip(high, low, strict=True)]


class LogLinear:
    """Histograms by row, from 0; rows are added when they are first named."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, BUCKETS), np.int64)
        self._sums = np.zeros(0, object)
        self._min: Ns = np.zeros(0, np.uint64)
        self._max: Ns = np.zeros(0, np.uint64)

    def add(self, rows: Rows, values: Ns) -> None:
        """Adds each value, at most 2^20 of them, to the row named beside it; a row may be named more than once."""
        if not len(rows):
            return
        self._grow(int(rows.max()) + 1)
        indices, counts = np.unique(rows * BUCKETS + bucket(values), return_counts=True)
        self._counts.reshape(-1)[indices] += counts
        named, groups = np.unique(rows, return_inverse=True)
        self._sums[named] += np.array(sums(groups, values, len(named)), object)
        np.minimum.at(self._min, rows, values)
        np.maximum.at(self._max, rows, values)

    def latency(self, row: int) -> Latency | None:
        """The figures of a row; None where nothing was added."""
        counts = self._row(row)
        total = int(counts.sum())
        if not total:
            return None
        least, most = int(self._min[row]), int(self._max[row])
        upto = np.cumsum(counts)
        middles = []
        for percent in (50, 99):
            # The nearest rank, as in Distribution.quantile.
            low, high = bounds(int(np.searchsorted(upto, -(-total * percent // 100))))
            middles.append(min(max((low + high) // 2, least), most))
        return Latency(total, middles[0], middles[1], least, most, int(self._sums[row]))

    def buckets(self, row: int) -> Iterator[tuple[int, int, int]]:
        """(lowest, highest, count) of each bucket of a row that is not empty, ascending."""
        counts = self._row(row)
        for number in np.flatnonzero(counts).tolist():
            yield *bounds(number), int(counts[number])

    def merge(self, row: int, other: LogLinear, theirs: int) -> None:
        """Adds the row ``theirs`` of another to a row of this one."""
        if theirs >= len(other._counts):
            return
        self._grow(row + 1)
        self._counts[row] += other._counts[theirs]
        self._sums[row] += other._sums[theirs]
        self._min[row] = min(self._min[row], other._min[theirs])
        self._max[row] = max(self._max[row], other._max[theirs])

    def keep(self, rows: list[int]) -> LogLinear:
        """A copy whose row i is the row ``rows[i - 1]`` of this one, and whose row 0 is the sum of all other rows."""
        kept = LogLinear()
        for row in sorted(set(range(len(self._counts))) - set(rows)):
            kept.merge(0, self, row)
        for new_row, row in enumerate(rows, 1):
            kept.merge(new_row, self, row)
        return kept

    def _row(self, row: int) -> Rows:
        return self._counts[row] if row < len(self._counts) else np.zeros(BUCKETS, np.int64)

    def _grow(self, rows: int) -> None:
        more = rows - len(self._counts)
        if more <= 0:
            return
        more = max(more, len(self._counts))  # doubled, so that growing costs little
        self._counts = np.concatenate([self._counts, np.zeros((more, BUCKETS), np.int64)])
        self._sums = np.concatenate([self._sums, np.zeros(more, object)])
        self._min = np.concatenate([self._min, np.full(more, np.iinfo(np.uint64).max, np.uint64)])
        self._max = np.concatenate([self._max, np.zeros(more, np.uint64)])
