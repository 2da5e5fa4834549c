"""Stacks ↔ Arrow: a struct of the two sides, each its frames' names and why some are missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from inetprobe.base.errors import RecordingError
from inetprobe.record.stacks import Side, Stack, Stacks

Numbers = npt.NDArray[np.uint64]

_FRAMES = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))
_SIDE = pa.struct([("frames", _FRAMES), ("lost", pa.utf8())])
#: The column. Null where a trace has no stack, a side where nobody asked for it.
FIELD = pa.field("stack", pa.struct([(name, _SIDE) for name in Stack._fields]))
# More than the kernel has sent, or than a name is cut to, nobody has recorded.
_MOST_FRAMES = 1024
_LONGEST = 4096


def to_arrow(numbers: Numbers, stacks: Stacks) -> pa.StructArray:
    """The stack of each number."""
    told = [stacks.get(number) for number in numbers.tolist()]
    sides = [
        _side_to_arrow([None if stack is None else stack[place] for stack in told])
        for place in range(len(Stack._fields))
    ]
    return pa.StructArray.from_arrays(
        sides, fields=list(FIELD.type), mask=pa.array([s is None for s in told], pa.bool_())
    )


def _side_to_arrow(sides: list[Side | None]) -> pa.StructArray:
    names: dict[str, int] = {}
    places = [names.setdefault(frame, len(names)) for side in sides if side is not None for frame in side.frames]
    frames = pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(list(names), pa.utf8()))
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
    """The number of each row's stack in ``stacks``, 0 where it has none; of a column that is well formed.

    Raises RecordingError if a stack is longer than any there is, or has a null for a frame.
    """
    rows = np.flatnonzero(np.asarray(column.is_valid()))
    numbers = np.zeros(len(column), np.uint64)
    sides = [_side_from_arrow(column.field(name)) for name in Stack._fields]
    for row in rows.tolist():
        numbers[row] = stacks.number(Stack(*[side[row] for side in sides]))
    return numbers


def _side_from_arrow(column: pa.StructArray) -> list[Side | None]:
    """A side of each row. Rows share the dictionary's strings, however often a stranger's file names one."""
    frames = column.field("frames")
    ends = np.asarray(frames.offsets)
    if np.diff(ends).max(initial=0) > _MOST_FRAMES:
        raise RecordingError(f"a stack of it has more than {_MOST_FRAMES} frames")
    values = frames.values[int(ends[0]) : int(ends[-1])]
    names, places = _names(values)
    known = np.asarray(column.is_valid()) & np.asarray(frames.is_valid())
    rows = zip(known.tolist(), ends[:-1] - ends[0], ends[1:] - ends[0], column.field("lost").to_pylist(), strict=True)
    return [
        Side(tuple(names[place] for place in places[start:end]), _short(lost)) if there else None
        for there, start, end, lost in rows
    ]


def _names(values: pa.DictionaryArray) -> tuple[list[str], list[int]]:
    """The names that are used, and the place of each frame's among them."""
    if values.null_count:
        raise RecordingError("a stack of it has a null for a frame")
    used, places = np.unique(np.asarray(values.indices), return_inverse=True)
    names = values.dictionary.take(pa.array(used)).to_pylist()
    if None in names:
        raise RecordingError("a stack of it has a null for a frame")
    for name in names:
        _short(name)
    return names, places.tolist()


def _short(name: str | None) -> str | None:
    if name is not None and len(name) > _LONGEST:
        raise RecordingError(f"a name of {len(name):,} characters stands in a stack of it")
    return name
