"""Histograms of durations for the report: any quantile, and few enough bins for a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from inetprobe.stats.loglinear import BUCKETS, Latency, bounds

Bucket = tuple[int, int, int]
# Eight bins per octave make a smooth curve; the histograms have 32.
_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations in nanoseconds. ``buckets`` are (lowest, highest, count), ascending. Quantiles are accurate to 1.6 %,
    as in inetprobe.stats.loglinear, and within ``least_ns`` and ``most_ns``, which are exact."""

    buckets: tuple[Bucket, ...]
    least_ns: int
    most_ns: int

    @classmethod
    def of(cls, histograms: Iterable[Iterable[Bucket]], latencies: Iterable[Latency]) -> Distribution:
        """The sum of several histograms, of which each has its own ``Latency``."""
        counts: Counter[tuple[int, int]] = Counter()
        known = list(latencies)
        least, most = min((each.min_ns for each in known), default=0), max((each.max_ns for each in known), default=0)
        for histogram in histograms:
            for low, high, count in histogram:
                counts[low, high] += count
        return cls(tuple((low, high, counts[low, high]) for low, high in sorted(counts)), least, most)

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(count for _, _, count in self.buckets)

    def quantile(self, per_mille: int) -> int:
        """Nanoseconds that ``per_mille`` ‰ of the durations do not exceed, by the nearest rank. Raises IndexError if
        there are no durations."""
        rank = -(-self.count * per_mille // 1000)
        so_far = 0
        for low, high, count in self.buckets:
            so_far += count
            if so_far >= rank:
                return min(max((low + high) // 2, self.least_ns), self.most_ns)
        raise IndexError("there are no durations")

    def bins(self) -> list[tuple[int, int, float]]:
        """(from ns, to ns, share of all) of each bin that is not empty, an eighth of an octave wide, ascending."""
        total = self.count
        counts: Counter[int] = Counter()
        for low, _, count in self.buckets:
            counts[_number(low) // _TOGETHER] += count
        shown = []
        for number in sorted(counts):
            first, last = number * _TOGETHER, min(number * _TOGETHER + _TOGETHER - 1, BUCKETS - 1)
            shown.append((bounds(first)[0], bounds(last)[1] + 1, counts[number] / total))
        return shown


def _number(value: int) -> int:
    """The bucket of a value: inetprobe.stats.loglinear.bucket() of one."""
    shift = max(value.bit_length() - 6, 0)
    return (value >> shift) + (shift << 5)
