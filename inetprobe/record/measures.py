"""Numbers of a batch, a column at a time, and a sample of durations that does not grow with the recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.record.layout import CALL_NULL, CALL_RETURNED, FUNCTION_REQUEST_MODULE, RECORD_BARE, Records

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


def _used(records: Records) -> Mask:
    return _mask(np.arange(records["calls"].shape[1]) < records["ncalls"][:, None])


def _mask(values: Any) -> Mask:
    result: Mask = values
    return result
