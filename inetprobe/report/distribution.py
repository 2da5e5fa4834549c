"""Histograms of durations as a page shows them: any quantile, and few enough bins for a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from inetprobe.loglinear import BUCKETS, bounds

Bucket = tuple[int, int, int]
# Eight bins an octave make a smooth curve; the histograms have 32.
_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations in nanoseconds. ``buckets`` are (least, greatest, count), ascending; the total is exact, quantiles are
    to 1.6 %, as in inetprobe.loglinear, and ``longest_ns`` is at least the longest there was, to 1.6 %."""

    buckets: tuple[Bucket, ...]

    @classmethod
    def of(cls, *histograms: Iterable[Bucket]) -> Distribution:
        """Several histograms together."""
        counts: Counter[tuple[int, int]] = Counter()
        for histogram in histograms:
            for low, high, count in histogram:
                counts[low, high] += count
        return cls(tuple((low, high, counts[low, high]) for low, high in sorted(counts)))

    @property
    def count(self) -> int:
        """How many durations."""
        return sum(count for _, _, count in self.buckets)

    def quantile(self, per_mille: int) -> int:
        """Nanoseconds that ``per_mille`` ‰ of the durations do not exceed: the nearest rank. Raises IndexError if there
        are none."""
        rank = -(-self.count * per_mille // 1000)
        so_far = 0
        for low, high, count in self.buckets:
            so_far += count
            if so_far >= rank:
                return (low + high) // 2
        raise IndexError("there are no durations")

    def bins(self) -> list[tuple[int, int, float]]:
        """(from ns, to ns, share of all) of what is not empty, in bins of an eighth of an octave, ascending."""
        total = self.count
        counts: Counter[int] = Counter()
        for low, _, count in self.buckets:
            counts[_number(low) // _TOGETHER] += count
        shown = []
        for place in sorted(counts):
            first, last = place * _TOGETHER, min(place * _TOGETHER + _TOGETHER - 1, BUCKETS - 1)
            shown.append((bounds(first)[0], bounds(last)[1] + 1, counts[place] / total))
        return shown


def _number(value: int) -> int:
    """The bucket of a value, as inetprobe.loglinear has it for arrays."""
    shift = max(value.bit_length() - 6, 0)
    return (value >> shift) + (shift << 5)
