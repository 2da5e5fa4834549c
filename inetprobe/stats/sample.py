"""A sample of durations that does not grow with the recording, and its quantiles."""

from __future__ import annotations

import numpy as np

from inetprobe.record.measures import Durations


class Reservoir:
    """A sample of at most ``size`` of any number of values, each as likely to be in it (Vitter's algorithm R).

    The same values in the same order give the same sample. ``count`` is how many there were.
    """

    def __init__(self, size: int = 100_000) -> None:
        self.count = 0
        self._size = size
        self._kept: Durations = np.zeros(0, np.uint64)
        self._random = np.random.default_rng(0)

    @property
    def values(self) -> Durations:
        """The sample, in no order."""
        return self._kept

    @property
    def sampled(self) -> bool:
        """Is it less than everything?"""
        return self.count > len(self._kept)

    def add(self, values: Durations) -> None:
        """Takes more values in."""
        room = self._size - len(self._kept)
        taken, rest = values[:room], values[room:]
        if len(taken):
            self._kept = np.concatenate([self._kept, taken])
        self.count += len(values)
        if len(rest):
            so_far = np.arange(self.count - len(rest), self.count) + 1
            places = self._random.integers(0, so_far)
            inside = places < self._size
            self._kept[places[inside]] = rest[inside]


def quantile(values: Durations, percent: int) -> int:
    """The least of the values that at least ``percent`` % of them do not exceed. They must not be empty."""
    return int(np.quantile(values, percent / 100, method="inverted_cdf"))
