"""Self time: the duration of a call less the durations of the calls directly below it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.base.errors import RecordingError
from inetprobe.record.calls import Calls, parents_of
from inetprobe.record.layout import has_returned


def self_times(calls: Calls) -> npt.NDArray[np.int64]:
    """Nanoseconds of each call, ``[calls]``; −1 where its return was not seen.

    The calls must nest. A call whose return was not seen takes nothing off its parent's. Raises RecordingError for a
    duration that exceeds signed 64 bits.
    """
    returned = has_returned(calls.flags)
    own: npt.NDArray[np.int64] = without_children(
        calls.depth, signed(np.where(returned, calls.duration_ns, 0), "duration")
    )
    own[~returned] = -1
    return own


def without_children(depth: npt.NDArray[np.uint8], durations: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The durations, ``[calls]`` of int64 or Python integers, each less those of the calls directly below it.

    Never below 0: siblings in a crafted recording may take more than their parent.
    """
    own = durations.copy()
    if len(own):
        children = np.flatnonzero(depth)
        np.subtract.at(own, parents_of(depth)[children], durations[children])
    least: npt.NDArray[Any] = np.maximum(own, 0)
    return least


def signed(values: npt.NDArray[np.uint64], name: str) -> npt.NDArray[np.int64]:
    """The same numbers as int64. Raises RecordingError, which gives the column's ``name``, for one of 2^63 or more."""
    if int(values.max(initial=0)) >= 1 << 63:
        raise RecordingError(f"a {name} of the recording is longer than 292 years: no column holds so much")
    return values.astype(np.int64)
