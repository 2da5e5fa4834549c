"""Self time: what a call took less what the calls within it took."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inetprobe.base.errors import RecordingError
from inetprobe.record.layout import CALL_RETURNED, Records


def self_times(records: Records) -> npt.NDArray[np.int64]:
    """Nanoseconds by record and call slot; −1 where the return was not seen, and in slots that are not in use.

    The calls must nest, as ``nesting.problems`` says of them. A call within whose end was not seen takes nothing off.
    Raises RecordingError for a duration that no signed 64 bits hold.
    """
    calls = records["calls"]
    rows = np.arange(len(records))
    returned = ((calls["flags"] & CALL_RETURNED) != 0) & (np.arange(calls.shape[1]) < records["ncalls"][:, None])
    own = signed(np.where(returned, calls["duration_ns"], 0), "duration")
    durations = own.copy()
    open_at = np.zeros((len(records), calls.shape[1]), np.intp)  # the slot of the call that is open at each depth
    for slot in range(int(records["ncalls"].max(initial=0))):
        used = slot < records["ncalls"]
        depth = np.where(used, calls["depth"][:, slot], 0).astype(np.intp)
        inner = used & (depth > 0)
        parent = open_at[rows, np.maximum(depth - 1, 0)]
        own[rows[inner], parent[inner]] -= durations[inner, slot]
        open_at[rows[used], depth[used]] = slot
    own[~returned] = -1
    return own


def signed(values: npt.NDArray[np.uint64], what: str) -> npt.NDArray[np.int64]:
    """The same numbers as signed ones. Raises RecordingError where there are none."""
    if int(values.max(initial=0)) >= 1 << 63:
        raise RecordingError(f"a {what} of the recording is longer than 292 years: no column holds so much")
    return values.astype(np.int64)


# Nine years: a recording may claim more, and sums of more would not fit.
_LONGEST = np.uint64(1 << 58)


def own_times(records: Records) -> npt.NDArray[np.uint64]:
    """Nanoseconds of each call slot less those of the calls right below it; the calls must nest and have returned."""
    calls = records["calls"]
    own: npt.NDArray[np.uint64] = np.minimum(calls["duration_ns"], _LONGEST)
    rows = np.arange(len(records))
    last = np.zeros((len(records), calls.shape[1] + 1), np.int64)  # the latest slot at each depth
    for slot in range(int(records["ncalls"].max(initial=0))):
        depth = calls["depth"][:, slot].astype(np.int64)
        below = (slot < records["ncalls"]) & (depth > 0)
        parents = last[rows, depth - 1]
        left, taken = own[rows[below], parents[below]], own[below, slot]
        # Calls side by side take no more than the one above them, unless somebody made them up.
        own[rows[below], parents[below]] = left - np.minimum(left, taken)
        last[rows, depth] = slot
    return own
