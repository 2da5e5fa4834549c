"""Stacks ↔ Arrow: a struct of the two sides, each with the names of its frames and why some are missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from inetprobe.base.errors import RecordingError
from inetprobe.record.stacks import Side, Stack, Stacks

Numbers = npt.NDArray[np.uint64]

_FRAMES = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))
_SIDE = pa.struct([("frames", _FRAMES), ("lost", pa.utf8())])
#: The column. Null where a trace has no stack; a side is null where it was not asked for.
FIELD = pa.field("stack", pa.struct([(name, _SIDE) for name in Stack._fields]))
# More frames than the kernel sends, and more characters than names are cut to.
_MAX_FRAMES = 1024
_MAX_NAME = 4096


def to_arrow(numbers: Numbers, stacks: Stacks) -> pa.StructArray:
    """The column of stacks with these numbers, ``[records]``."""
    rows = [stacks.get(number) for number in numbers.tolist()]
    sides = [
        _side_to_arrow([None if stack is None else stack[side] for stack in rows]) for side in range(len(Stack._fields))
    ]
    return pa.StructArray.from_arrays(
        sides, fields=list(FIELD.type), mask=pa.array([stack is None for stack in rows], pa.bool_())
    )


def _side_to_arrow(sides: list[Side | None]) -> pa.StructArray:
    names: dict[str, int] = {}
    indices = [names.setdefault(frame, len(names)) for side in sides if side is not None for frame in side.frames]
    frames = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(list(names), pa.utf8()))
    ends = np.cumsum([0, *(0 if side is None else len(side.frames) for side in sides)])
    return pa.StructArray.from_arrays(
        [
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), frames),
            pa.array([None if side is None else side.lost for side in sides], pa.utf8()),
        ],
        fields=list(_SIDE),
        mask=pa.array([side is None for side in sides], pa.bool_()),
    )


def from_arrow(column: pa.StructArray, stacks: Stacks) -> Numbers:
    """The number of each row's stack in ``stacks``, ``[rows]``, 0 where it has none. The column must be well formed.

    Raises RecordingError if a stack has too many frames, or a null for one.
    """
    rows = np.flatnonzero(np.asarray(column.is_valid()))
    numbers = np.zeros(len(column), np.uint64)
    sides = [_side_from_arrow(column.field(name)) for name in Stack._fields]
    for row in rows.tolist():
        numbers[row] = stacks.number(Stack(*[side[row] for side in sides]))
    return numbers


def _side_from_arrow(column: pa.StructArray) -> list[Side | None]:
    """A side of each row. Rows share the strings of the dictionary, however often a crafted file refers to one."""
    frames = column.field("frames")
    ends = np.asarray(frames.offsets)
    if np.diff(ends).max(initial=0) > _MAX_FRAMES:
        raise RecordingError(f"one of its stacks has more than {_MAX_FRAMES} frames")
    values = frames.values[int(ends[0]) : int(ends[-1])]
    names, indices = _names(values)
    known = np.asarray(column.is_valid()) & np.asarray(frames.is_valid())
    rows = zip(known.tolist(), ends[:-1] - ends[0], ends[1:] - ends[0], column.field("lost").to_pylist(), strict=True)
    return [
        Side(tuple(names[index] for index in indices[start:end]), _short(lost)) if present else None
        for present, start, end, lost in rows
    ]


def _names(values: pa.DictionaryArray) -> tuple[list[str], list[int]]:
    """The names that are used, and the index among them of each frame's name."""
    if values.null_count:
        raise RecordingError("one of its stacks has a null for a frame")
    used, indices = np.unique(np.asarray(values.indices), return_inverse=True)
    names = values.dictionary.take(pa.array(used)).to_pylist()
    if None in names:
        raise RecordingError("one of its stacks has a null for a frame")
    for name in names:
        _short(name)
    return names, indices.tolist()


def _short(name: str | None) -> str | None:
    if name is not None and len(name) > _MAX_NAME:
        raise RecordingError(f"one of its stacks has a name of {len(name):,} characters")
    return name
