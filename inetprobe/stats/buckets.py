"""Histograms of durations, a batch at a time and exact."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from inetprobe.record.calls import Places
from inetprobe.stats.snapshot import Histogram

K = TypeVar("K", bound=Hashable)

# numpy adds weights up as doubles: of halves of 64 bits so many are exact.
_EXACT = 1 << 21


class Bounds:
    """The buckets of durations."""

    def __init__(self, bounds_ns: tuple[int, ...]) -> None:
        self._bounds = [np.uint64(bound) for bound in bounds_ns]

    def tally(self, groups: Places, durations: npt.NDArray[np.uint64]) -> Iterator[tuple[int, list[int], int]]:
        """Of each group that there is its number, its count in each bucket, and its sum."""
        width = len(self._bounds) + 1
        for start in range(0, len(groups), _EXACT):
            part, ns = groups[start : start + _EXACT], durations[start : start + _EXACT]
            # Comparing all with every bound takes a quarter of the time of searching.
            buckets = np.zeros(len(ns), np.uint8)
            for bound in self._bounds:
                buckets += (ns > bound).view(np.uint8)
            counts = np.bincount(part * width + buckets)
            counts = np.append(counts, np.zeros(-len(counts) % width, counts.dtype)).reshape(-1, width)
            sums = _sums(part, ns)
            for group in np.flatnonzero(counts.any(axis=1)).tolist():
                yield group, counts[group].tolist(), sums[group]


def _sums(groups: Places, durations: npt.NDArray[np.uint64]) -> list[int]:
    # In halves, since a recording's durations may have sums beyond 64 bits.
    if int(durations.max()) < 1 << 32:
        return [int(low) for low in np.bincount(groups, durations).tolist()]
    halves = durations & np.uint64(0xFFFFFFFF), durations >> np.uint64(32)
    low, high = (np.bincount(groups, half).tolist() for half in halves)
    return [(int(above) << 32) + int(below) for below, above in zip(low, high, strict=True)]


class Histograms(Generic[K]):
    """Histograms by a key, past ``most`` of which all go into one under None."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._totals: dict[K | None, tuple[list[int], int]] = {}

    def add(self, key: K, counts: list[int], sum_ns: int) -> None:
        """So many in each bucket, and their sum."""
        place = key if key in self._totals or len(self._totals) < self._most else None
        before, sum_before = self._totals.get(place, ([0] * len(counts), 0))
        self._totals[place] = [one + other for one, other in zip(before, counts, strict=True)], sum_before + sum_ns

    def totals(self) -> dict[K | None, Histogram]:
        """Each key's."""
        return {key: Histogram(tuple(counts), sum_ns) for key, (counts, sum_ns) in self._totals.items()}
