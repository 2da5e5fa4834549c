"""What is asked of the records of a batch: seen, failed, errno, module requests, durations; a column each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inetprobe.base.uapi import AF_INET, AF_INET6, SIGKILL
from inetprobe.record.calls import Indices, used
from inetprobe.record.layout import (
    CALL_NULL,
    CREATES,
    FUNCTION_REQUEST_MODULE,
    SECURE_COMPUTING,
    SYSCALLS,
    Mask,
    Records,
    has_returned,
    is_bare,
)

Durations = npt.NDArray[np.uint64]

#: The errno of a failure whose result is none.
UNKNOWN_ERRNO = -1


def seen(records: Records) -> Mask:
    """The outcome of which records was seen? ``[records]``."""
    return has_returned(records["calls"][:, 0]["flags"])


def failed(records: Records) -> Mask:
    """Which records, of those whose outcome was seen, failed? ``[records]``."""
    return seen(records) & _refused(records)


def errnos(records: Records) -> npt.NDArray[np.int64]:
    """The errno that each record ended with, ``[records]``.

    0 for a success, for an outcome that was not seen, and for a sock that no create made; ``UNKNOWN_ERRNO`` for a
    failure whose result is no errno of the kernel's.
    """
    outermost = records["calls"][:, 0]
    values = -outermost["result"].astype(np.int64)
    known = (values > 0) & (values <= SIGKILL) & ((outermost["flags"] & CALL_NULL) == 0)
    numbers: npt.NDArray[np.int64] = np.where(known, values, UNKNOWN_ERRNO)
    numbers[~failed(records) | is_bare(records["flags"])] = 0
    return numbers


def create_indices(records: Records) -> Indices:
    """The index of each record's create among its calls, ``[records]``; -1 where it has none.

    A create within another family's system call is that family's own.
    """
    calls = records["calls"]
    asked = np.isin(calls["function"][:, 0], [*SYSCALLS, SECURE_COMPUTING])
    creates = used(records) & np.isin(calls["function"], CREATES)
    own = creates.any(axis=1) & np.isin(records["asked_family"], (AF_INET, AF_INET6))
    first = np.where(own, creates.argmax(axis=1), -1)
    indices: Indices = np.where(is_bare(records["flags"]), -1, np.where(asked, first, 0))
    return indices


def creations(records: Records) -> Records:
    """The records that have a create, each with that as its outermost call; a copy."""
    indices = create_indices(records)
    made = records[indices >= 0].copy()
    skipped = indices[indices >= 0]
    if skipped.any():
        slots = made["calls"].shape[1]
        moved = np.minimum(np.arange(slots) + skipped[:, None], slots - 1)
        made["calls"] = np.take_along_axis(made["calls"], moved, axis=1)
        made["ncalls"] -= skipped.astype(np.uint8)
        made["calls"]["depth"] -= made["calls"]["depth"][:, :1]
    return made


def module_requests(records: Records) -> npt.NDArray[np.int64]:
    """The number of module requests of each record, ``[records]``."""
    counts: npt.NDArray[np.int64] = (used(records) & (records["calls"]["function"] == FUNCTION_REQUEST_MODULE)).sum(1)
    return counts


def durations(records: Records, function: int) -> Durations:
    """Nanoseconds of every call of the function with number ``function`` that returned, ``[calls]``, in order of
    entry."""
    calls = records["calls"]
    of_function = used(records) & (calls["function"] == function)
    took: Durations = calls["duration_ns"][of_function & has_returned(calls["flags"])]
    return took


def _refused(records: Records) -> Mask:
    outermost = records["calls"][:, 0]
    mask: Mask = (outermost["result"] != 0) | ((outermost["flags"] & CALL_NULL) != 0)
    return mask
