"""Self time: what a call took less what the calls within it took."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inetprobe.flat.traces import signed
from inetprobe.record import CALL_RETURNED, Records


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
