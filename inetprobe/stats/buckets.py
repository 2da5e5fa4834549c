"""Histograms of durations with fixed upper bounds: exact counts and sums, in the kernel's buckets and on the page."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from inetprobe.base.errors import UsageError
from inetprobe.record.calls import Indices
from inetprobe.record.filter import parse_duration
from inetprobe.stats.snapshot import Histogram

K = TypeVar("K", bound=Hashable)

#: Default upper bounds, in nanoseconds. A socket from a slab takes a microsecond or less, one that waits for modprobe
#: seconds.
DEFAULT_BOUNDS_NS = (
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
)
#: The most bounds that the kernel's tables have room for, besides the bucket beyond the last bound.
MAX_BOUNDS = 14

# numpy sums weights as doubles, which are exact for this many 32-bit halves.
_EXACT = 1 << 21


def parse_bounds(words: str) -> tuple[int, ...]:
    """Nanoseconds of ``1us,5us,10ms``, as ``--buckets`` takes them. Raises UsageError: one sentence."""
    given = words.split(",")
    if len(given) > MAX_BOUNDS:
        raise UsageError(f"--buckets has {len(given)} bounds: give at most {MAX_BOUNDS}, +Inf comes by itself")
    bounds: list[int] = []
    for word in given:
        try:
            bound = parse_duration(word)
        except UsageError as error:
            raise UsageError(f"--buckets: {error}") from None
        if bound < 1:
            raise UsageError(f"--buckets: {word.strip()!r} is less than a nanosecond: give bounds of 1ns or more")
        if bounds and bound <= bounds[-1]:
            raise UsageError(f"--buckets: {word.strip()!r} does not exceed the bound before it: give them ascending")
        bounds.append(bound)
    return tuple(bounds)


class Bounds:
    """Buckets with these upper bounds, in nanoseconds and ascending, and one beyond the last."""

    def __init__(self, bounds_ns: tuple[int, ...]) -> None:
        self._bounds = [np.uint64(bound) for bound in bounds_ns]

    def tally(self, groups: Indices, durations: npt.NDArray[np.uint64]) -> Iterator[tuple[int, list[int], int]]:
        """For each group that occurs: its number, its count in each bucket, and the sum of its durations.

        ``groups`` has the number of each duration's group, from 0. A group may be yielded more than once.
        """
        width = len(self._bounds) + 1
        for start in range(0, len(groups), _EXACT):
            part, ns = groups[start : start + _EXACT], durations[start : start + _EXACT]
            # Comparing every duration with every bound takes a quarter of the time of np.searchsorted.
            buckets = np.zeros(len(ns), np.uint8)
            for bound in self._bounds:
                buckets += (ns > bound).view(np.uint8)
            counts: npt.NDArray[np.intp] = np.bincount(part * width + buckets)
            counts = np.append(counts, np.zeros(-len(counts) % width, counts.dtype)).reshape(-1, width)
            sums = _sums(part, ns)
            for group in np.flatnonzero(counts.any(axis=1)).tolist():
                yield group, counts[group].tolist(), sums[group]


def _sums(groups: Indices, durations: npt.NDArray[np.uint64]) -> list[int]:
    # By halves, since sums of a recording's durations may exceed 64 bits.
    if int(durations.max()) < 1 << 32:
        return [int(low) for low in np.bincount(groups, durations).tolist()]
    halves = durations & np.uint64(0xFFFFFFFF), durations >> np.uint64(32)
    low, high = (np.bincount(groups, half).tolist() for half in halves)
    return [(int(above) << 32) + int(below) for below, above in zip(low, high, strict=True)]


class Histograms(Generic[K]):
    """Histograms by key, for at most ``max_keys`` keys; the rest share one, under None."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._totals: dict[K | None, tuple[list[int], int]] = {}

    def add(self, key: K, counts: list[int], sum_ns: int) -> None:
        """Adds ``counts``, one per bucket, and the sum of the durations counted."""
        kept_as = key if key in self._totals or len(self._totals) < self._max_keys else None
        before, sum_before = self._totals.get(kept_as, ([0] * len(counts), 0))
        self._totals[kept_as] = [old + new for old, new in zip(before, counts, strict=True)], sum_before + sum_ns

    def totals(self) -> dict[K | None, Histogram]:
        """The histogram of each key."""
        return {key: Histogram(tuple(counts), sum_ns) for key, (counts, sum_ns) in self._totals.items()}
