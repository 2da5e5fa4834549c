"""Numbers of a batch, a column at a time, and a sample of durations that does not grow with the recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.record import CALL_NULL, CALL_RETURNED, FUNCTION_REQUEST_MODULE, RECORD_BARE, Records

Mask = npt.NDArray[np.bool_]
Durations = npt.NDArray[np.uint64]

#: The largest errno of the kernel, MAX_ERRNO of include/linux/err.h.
MAX_ERRNO = 4095


def seen(records: Records) -> Mask:
    """Whose outcome was seen?"""
    return _mask((records["calls"][:, 0]["flags"] & CALL_RETURNED) != 0)


def failed(records: Records) -> Mask:
    """Which failed, of those whose outcome was seen?"""
    outermost = records["calls"][:, 0]
    return _mask(seen(records) & ((outermost["result"] != 0) | ((outermost["flags"] & CALL_NULL) != 0)))


def errnos(records: Records) -> npt.NDArray[np.int64]:
    """The errno each ended with: 0 for success, for what was not seen, and for what no errno of the kernel's can be."""
    values = -records["calls"][:, 0]["result"].astype(np.int64)
    known = seen(records) & ((records["flags"] & RECORD_BARE) == 0) & (values > 0) & (values <= MAX_ERRNO)
    result: npt.NDArray[np.int64] = np.where(known, values, 0)
    return result


def module_requests(records: Records) -> npt.NDArray[np.int64]:
    """How often each asked for a module."""
    result: npt.NDArray[np.int64] = (_used(records) & (records["calls"]["function"] == FUNCTION_REQUEST_MODULE)).sum(1)
    return result


def durations(records: Records, function: int) -> Durations:
    """Nanoseconds of every call of function number ``function`` that returned, in order of entry."""
    calls = records["calls"]
    wanted = _used(records) & (calls["function"] == function) & ((calls["flags"] & CALL_RETURNED) != 0)
    result: Durations = calls["duration_ns"][wanted]
    return result


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


def _used(records: Records) -> Mask:
    return _mask(np.arange(records["calls"].shape[1]) < records["ncalls"][:, None])


def _mask(values: Any) -> Mask:
    result: Mask = values
    return result
