"""A sample of durations that does not grow with the recording, and its quantiles."""

from __future__ import annotations

import numpy as np

from inetprobe.record.measures import Durations


class Reservoir:
    """A uniform sample of at most ``size`` of any number of values (Vitter's algorithm R).

    The same values in the same order give the same sample. ``count`` is the number of values so far.
    """

    def __init__(self, size: int = 100_000) -> None:
        self.count = 0
        self._size = size
        self._kept: Durations = np.zeros(0, np.uint64)
        self._random = np.random.default_rng(0)

    @property
    def values(self) -> Durations:
        """The sample, ``[values]``, in no particular order."""
        return self._kept

    @property
    def sampled(self) -> bool:
        """Does the sample lack some of the values?"""
        return self.count > len(self._kept)

    def add(self, values: Durations) -> None:
        """Adds values."""
        room = self._size - len(self._kept)
        taken, rest = values[:room], values[room:]
        if len(taken):
            self._kept = np.concatenate([self._kept, taken])
        self.count += len(values)
        if len(rest):
            so_far = np.arange(self.count - len(rest), self.count) + 1
            indices = self._random.integers(0, so_far)
            inside = indices < self._size
            self._kept[indices[inside]] = rest[inside]


def quantile(values: Durations, percent: int) -> int:
    """The lowest value that at least ``percent`` % of the values, one or more, do not exceed."""
    return int(np.quantile(values, percent / 100, method="inverted_cdf"))
