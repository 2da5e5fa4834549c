"""Records that differ only in when, where and by whom: what is worked out for one holds for all of its shape.

Nearly all sockets of a machine have one of a dozen shapes, so what costs Python code is done a dozen times a batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.record import Records

#: All that the trace of a record depends on, but for its times and for who made it.
SHAPE = ("family", "type", "protocol", "flags", "ncalls", "prot", "sock")
_CALL = ("result", "function", "depth", "flags", "module", "module_protocol", "module_family", "module_type")

Places = npt.NDArray[np.intp]


def groups(records: Records, *also: str) -> tuple[Places, Places]:
    """The place of the first record of each shape, and for every record which of them it is like.

    Records of one group agree in ``SHAPE``, in their calls but for the times, and in the fields named by ``also``.
    """
    if not len(records):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    slots = int(records["ncalls"].max())
    mask = _mask(records.dtype, also, slots)
    words = np.ascontiguousarray(records).view(np.uint64).reshape(len(records), -1)
    used = np.flatnonzero(mask)
    shape = words[:, used] & mask[used]
    # Multipliers nobody can know beforehand, and a look whether two shapes have met in one number all the same.
    keys = (shape * _multipliers(len(used))).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if not (shape == shape[first][inverse]).all():
        _, first, inverse = np.unique(shape, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


@lru_cache(maxsize=64)
def _mask(dtype: np.dtype[np.void], also: tuple[str, ...], slots: int) -> npt.NDArray[np.uint64]:
    """Ones where a record's 64-bit words belong to its shape."""
    one = np.zeros(1, dtype)
    for name in (*SHAPE, *also):
        _fill(one[name])
    for name in _CALL:
        _fill(one["calls"][name][:, :slots])
    return one.view(np.uint64).reshape(-1)


def _fill(field: npt.NDArray[Any]) -> None:
    if field.dtype.names:
        for name in field.dtype.names:
            _fill(field[name])
    elif field.dtype.kind == "S":
        field[...] = b"\xff" * field.dtype.itemsize
    else:
        field[...] = np.invert(np.zeros(1, field.dtype))[0]


@lru_cache(maxsize=64)
def _multipliers(count: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng().integers(0, 1 << 63, count, np.uint64) * np.uint64(2) + np.uint64(1)
