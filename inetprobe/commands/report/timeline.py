"""Counts of sockets by time, in a bounded number of bins whatever the length of the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import is_bare
from inetprobe.record.measures import failed, module_requests, seen
from inetprobe.record.run import Run

_MS, _S = 10**3, 10**6
_MINUTE, _HOUR = 60 * _S, 3600 * _S
# Each divides the next, so that bins can be merged without splitting; all are widths that people use.
_WIDTHS_US = (
    100, _MS, 2 * _MS, 10 * _MS, 20 * _MS, 100 * _MS, 200 * _MS, _S, 2 * _S, 10 * _S, 20 * _S,
    _MINUTE, 2 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, _HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR,
)  # fmt: skip
#: The maximum number of bins.
MOST_BINS = 240


@dataclass(slots=True)
class Bin:
    """The counts of one bin. ``asked`` are all requested sockets, among them ``failed`` and ``unseen``, those whose end
    was not seen. ``lost`` are sockets without a trace. ``longest_ns`` is None if no end was seen."""

    asked: int = 0
    failed: int = 0
    unseen: int = 0
    requests: int = 0
    lost: int = 0
    longest_ns: int | None = None

    def add(self, other: Bin) -> None:
        """Adds the counts of another bin."""
        self.asked += other.asked
        self.failed += other.failed
        self.unseen += other.unseen
        self.requests += other.requests
        self.lost += other.lost
        known = [value for value in (self.longest_ns, other.longest_ns) if value is not None]
        self.longest_ns = max(known, default=None)


class Timeline:
    """A sink that counts the creations of any number of runs by wall-clock time, in microseconds since the epoch."""

    def __init__(self) -> None:
        self._width = _WIDTHS_US[0]
        self._bins: dict[int, Bin] = {}
        self._at: int | None = None

    @property
    def width_us(self) -> int:
        """The width of a bin."""
        return self._width

    def bins(self) -> list[tuple[int, Bin]]:
        """(start in microseconds since the epoch, counts) of the bins that are not empty, ascending."""
        return [(index * self._width, self._bins[index]) for index in sorted(self._bins)]

    def batch(self, batch: Batch, run: Run) -> None:
        """Counts the creations of a batch; socks that inet_create did not create are left out."""
        records = batch.records[~is_bare(batch.records["flags"])]
        # Nanoseconds since the epoch may exceed 64 bits in a crafted recording; microseconds do not.
        times = (records["start_ns"] // np.uint64(1000)).astype(np.int64) + run.clock_offset_ns // 1000
        if len(records):
            self._fit(int(times.min()), int(times.max()))
            self._at = int(times[0])
        if batch.losses and self._at is not None:
            # They were lost before the next record; those before the first record have no known time.
            lost = sum(max(loss.count, 0) for loss in batch.losses)
            self._bins.setdefault(self._at // self._width, Bin()).lost += lost
        if not len(records):
            return
        indices, groups = np.unique(times // self._width, return_inverse=True)
        longest = np.zeros(len(indices), np.uint64)
        known = seen(records)
        np.maximum.at(longest, groups[known], records["calls"]["duration_ns"][known, 0])
        columns = zip(
            indices.tolist(),
            *(_sums(groups, values) for values in (np.ones(len(groups)), failed(records), module_requests(records))),
            _sums(groups, known),
            longest.tolist(),
            strict=True,
        )
        for index, asked, refused, requests, ended, most in columns:
            counts = Bin(asked, refused, asked - ended, requests, 0, most if ended else None)
            self._bins.setdefault(index, Bin()).add(counts)

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def _fit(self, first: int, last: int) -> None:
        """Widens the bins until ``MOST_BINS`` cover the time from ``first`` to ``last``."""
        if self._bins:
            first = min(first, min(self._bins) * self._width)
            last = max(last, max(self._bins) * self._width)
        width = self._width
        while last // width - first // width >= MOST_BINS:
            width = next((wider for wider in _WIDTHS_US if wider > width), width * 2)
        if width == self._width:
            return
        merged: dict[int, Bin] = {}
        for index, counts in self._bins.items():
            merged.setdefault(index * self._width // width, Bin()).add(counts)
        self._bins, self._width = merged, width


def _sums(groups: npt.NDArray[np.intp], values: npt.NDArray[Any]) -> list[int]:
    sums: list[int] = np.bincount(groups, values).astype(np.int64).tolist()
    return sums
