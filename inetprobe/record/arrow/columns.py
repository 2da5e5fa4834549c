"""Records ↔ Arrow columns, without loss, in names and types that pandas, polars or DuckDB read as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from inetprobe.base import text
from inetprobe.base.errors import RecordingError
from inetprobe.base.uapi import errno_name
from inetprobe.model.inet_sock import Sock
from inetprobe.record.arrow import stack_columns
from inetprobe.record.batch import Batch, ColumnBatch, Loss
from inetprobe.record.calls import Calls
from inetprobe.record.filter import UNKNOWN_OF_BARE
from inetprobe.record.layout import (
    CALL_NULL,
    CALL_POINTER,
    CALL_VOID,
    RECORD,
    Records,
    has_returned,
    is_bare,
    record_dtype,
)
from inetprobe.record.run import Run
from inetprobe.record.shapes import Names, grouped

_NAME = pa.dictionary(pa.int32(), pa.utf8())
# Columns with the name and the type of a record's member.
_PLAIN = (
    "start_ns", "seq", "cgroup_id", "pid", "tid", "ppid", "uid", "gid", "netns", "protocol", "family", "type",
    "foreign", "cpu", "flags", "asked_family", "asked_type", "asked_protocol", "descriptor",
)  # fmt: skip
_CALL_PLAIN = ("start_ns", "depth", "flags", "module", "module_protocol", "module_family", "module_type")

# The fields of a call that are read back.
_CALL_READ = (*_CALL_PLAIN, "function", "duration_ns", "result")

CALL_TYPE = pa.struct(
    [
        ("function", _NAME),
        ("depth", pa.uint8()),
        ("start_ns", pa.uint64()),
        ("duration_ns", pa.uint64()),
        ("result", pa.int32()),
        ("pointer", pa.utf8()),
        ("flags", pa.uint8()),
        ("module", pa.uint8()),
        ("module_protocol", pa.int32()),
        ("module_family", pa.int16()),
        ("module_type", pa.int16()),
    ]
)
_SOCK = pa.field("sock", pa.struct([(name, pa.int32()) for name in Sock._fields]))
SCHEMA = pa.schema(
    [
        *((name, pa.from_numpy_dtype(RECORD[name])) for name in _PLAIN),
        ("comm", _NAME),
        ("prot", _NAME),
        ("cgroup", _NAME),
        ("errno", pa.utf8()),
        ("duration_ns", pa.uint64()),
        ("calls", pa.list_(CALL_TYPE)),
    ]
)
# The columns that recordings of format 1.0 lack: 0 in all their records.
_SINCE_1_1 = ("asked_family", "asked_type", "asked_protocol", "descriptor")
# The columns that are read back; the others are for other tools.
_READ = (*_PLAIN, "comm", "prot", "cgroup", "calls")
_ROW_BYTES = sum(RECORD[name].itemsize for name in _PLAIN if name not in _SINCE_1_1)
# The kernel's longest path, PATH_MAX, with each byte of it as \\xNN.
_LONGEST_PATH = 4 * 4096


def schema(*, sock: bool = False, stack: bool = False) -> pa.Schema:
    """The columns of a run: ``SCHEMA``, and with --sock and --stack the columns of these."""
    return pa.schema([*SCHEMA, *[_SOCK] * sock, *[stack_columns.FIELD] * stack])


def to_arrow(records: Records, run: Run) -> pa.RecordBatch:
    """As ``batch_to_arrow``, of records ``[records]``."""
    return batch_to_arrow(Batch(records), run)


def batch_to_arrow(batch: Batch, run: Run) -> pa.RecordBatch:
    """The inverse of ``from_arrow``. Each record must have a call; the sock's fields and the stacks are written where
    the records have them."""
    calls = batch.calls
    seen = has_returned(calls.flags.take(calls.starts))
    bare = is_bare(batch.column("flags"))
    columns = [_plain(batch.column(name), name, bare) for name in _PLAIN]
    columns += [_names(batch.column(name), _until_nul) for name in ("comm", "prot")]
    columns.append(_names(batch.column("cgroup_id"), lambda identity: run.cgroups.get(int(identity))))
    columns.append(_errno_names(calls.result.take(calls.starts)))
    columns.append(_nullable(calls.duration_ns.take(calls.starts), seen))
    columns.append(_calls_to_arrow(calls, run))
    if batch.has_sock:
        columns.append(_sock_to_arrow(batch.column("sock")))
    if batch.has_stack:
        columns.append(stack_columns.to_arrow(batch.column("stack"), run.stacks))
    return pa.RecordBatch.from_arrays(columns, schema=schema(sock=batch.has_sock, stack=batch.has_stack))


def check(batch: pa.RecordBatch, size: int, *, sock: bool = False, stack: bool = False) -> None:
    """Checks that ``from_arrow`` may read a batch, whose body has ``size`` bytes in the stream.

    Raises RecordingError if a column is missing or of another type, ArrowException if one is not well formed.
    """
    # Columns may share their bytes: a few bytes would then make any number of records.
    if batch.num_rows * _ROW_BYTES > size:
        raise RecordingError(f"a batch of {batch.num_rows:,} sockets has {size:,} bytes")
    expected = schema(sock=sock, stack=stack)
    for name in (*_READ, *[_SOCK.name] * sock, *[stack_columns.FIELD.name] * stack):
        if name in _SINCE_1_1 and name not in batch.schema.names:
            continue
        column = _column(batch, name, expected.field(name).type)
        if name == "calls":
            _check_calls(column)
        else:
            _check_column(column)


def _check_column(column: pa.Array) -> None:
    """Validates a column in full, except for the indices of names, which ``_used`` checks."""
    if isinstance(column, pa.DictionaryArray):
        column.validate()
        column.dictionary.validate(full=True)
    else:
        column.validate(full=True)


def _check_calls(column: pa.ListArray) -> None:
    """Validates the calls in full, except for the texts of ``pointer``, which are not read back and take as long as all
    the rest."""
    column.validate()
    if len(column):
        offsets = np.asarray(column.offsets)
        if offsets[0] < 0 or offsets[-1] > len(column.values) or (offsets[1:] < offsets[:-1]).any():
            raise RecordingError("the offsets of column calls lie outside it")
    for name in _CALL_READ:
        _check_column(column.values.field(name))


def from_arrow(batch: pa.RecordBatch, run: Run, losses: tuple[Loss, ...] = ()) -> Batch:
    """A batch, or a slice of one, that ``check`` has passed; most columns are not copied. Adds to ``run.cgroups`` and
    ``run.stacks``.

    Raises RecordingError if a column has a null where none may be, or is out of range.
    """
    dtype = record_dtype(run.slots, sock=run.sock, stack=run.stack)
    if not batch.num_rows:
        # Arrow validates no offsets of an empty list column, and aborts the process on wrong ones
        return Batch(np.zeros(0, dtype), losses)
    columns = _ArrowColumns(batch, dtype)
    if run.stack:
        columns.known["stack"] = stack_columns.from_arrow(batch.column("stack"), run.stacks)
    calls = _calls_from_arrow(batch.column("calls"), run)
    columns.known["ncalls"] = calls.counts.astype(np.uint8)
    for identity, path in _cgroup_paths(columns.known["cgroup_id"], batch.column("cgroup")).items():
        run.cgroups.setdefault(identity, path)
    return ColumnBatch(dtype, columns, calls, losses)


class _ArrowColumns:
    """The members of the records in a batch of Arrow's; all but the sock are checked when this is made."""

    def __init__(self, batch: pa.RecordBatch, dtype: np.dtype[np.void]) -> None:
        self.known = {}
        for name in _PLAIN:
            if name in _SINCE_1_1 and name not in batch.schema.names:
                self.known[name] = np.zeros(batch.num_rows, dtype[name])
                continue
            column = batch.column(name)
            self.known[name] = _filled(column, 0) if name in UNKNOWN_OF_BARE else _numbers(column, name)
        self._names = {name: _used(batch.column(name)) for name in ("comm", "prot")}
        self._batch = batch
        self._dtype = dtype

    def column(self, name: str) -> npt.NDArray[Any]:
        if name in self.known:
            return self.known[name]
        return _sock_from_arrow(self._batch.column(name), self._dtype[name].base)

    def names(self, name: str) -> Names:
        texts, indices = self._names[name]
        size = self._dtype[name].itemsize
        return Names(np.array([text.encode(name or "")[:size] for name in texts], f"S{size}"), indices)


def _sock_to_arrow(socks: npt.NDArray[np.void]) -> pa.StructArray:
    present = socks["present"]
    fields = [_nullable(socks[name], (present >> bit & 1) != 0) for bit, name in enumerate(Sock._fields)]
    return pa.StructArray.from_arrays(fields, fields=list(_SOCK.type), mask=pa.array(present == 0))


def _sock_from_arrow(column: pa.StructArray, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    socks = np.zeros(len(column), dtype)
    made = np.asarray(column.is_valid())
    for bit, name in enumerate(Sock._fields):
        field = column.field(name)
        known = made & np.asarray(field.is_valid())
        socks[name] = np.where(known, np.asarray(field.fill_null(0)), 0)
        socks["present"] |= known.astype(np.uint32) << np.uint32(bit)
    return socks


def _calls_to_arrow(calls: Calls, run: Run) -> pa.ListArray:
    returned = has_returned(calls.flags)
    is_pointer = (calls.flags & CALL_POINTER) != 0
    has_result = (calls.flags & (CALL_POINTER | CALL_VOID)) == 0
    pointer = pa.DictionaryArray.from_arrays(
        pa.array(((calls.flags & CALL_NULL) != 0).view(np.int8), mask=~is_pointer), pa.array(["valid", "NULL"])
    ).cast(pa.utf8())
    arrays = {
        "function": _names(calls.function, lambda number: run.functions[int(number)]),
        "duration_ns": _nullable(calls.duration_ns, returned),
        "result": _nullable(calls.result, returned & has_result),
        "pointer": pointer,
        **{name: pa.array(getattr(calls, name)) for name in _CALL_PLAIN},
    }
    struct = pa.StructArray.from_arrays([arrays[field.name] for field in CALL_TYPE], fields=list(CALL_TYPE))
    offsets = np.append(calls.starts, len(calls.flags)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), struct)


def _calls_from_arrow(column: pa.ListArray, run: Run) -> Calls:
    if column.null_count:
        raise RecordingError("column calls has a null")
    offsets = np.asarray(column.offsets).astype(np.intp)
    counts = np.diff(offsets)
    longest = int(counts.max())
    if longest > run.slots:
        raise RecordingError(f"a trace has {longest} calls, and a record has room for {run.slots}")
    struct = column.flatten()
    if struct.null_count:
        raise RecordingError("column calls has a null call")
    known = {name: _numbers(struct.field(name), f"calls.{name}") for name in _CALL_PLAIN}
    for name in ("duration_ns", "result"):
        known[name] = _filled(struct.field(name), 0)
    return Calls(counts, offsets[:-1] - offsets[0], function=_function_numbers(struct.field("function"), run), **known)


def _function_numbers(column: pa.DictionaryArray, run: Run) -> npt.NDArray[np.uint8]:
    known = {name: number for number, name in run.functions.items()}
    if column.null_count or column.dictionary.null_count:
        raise RecordingError("column calls.function has a null")
    names, indices = _used(column)
    unknown = [name for name in names[:-1] if name not in known]
    if unknown:
        raise RecordingError(f"it has a call of {unknown[0]!r}, a function that its metadata does not name")
    numbers = np.array([known[name] for name in names[:-1] if name is not None], np.uint8)
    functions: npt.NDArray[np.uint8] = numbers.take(indices)
    return functions


def _names(column: npt.NDArray[Any], name_of: Callable[[Any], str | None]) -> pa.DictionaryArray:
    """A column of names, each distinct value named once; a value without a name is null."""
    values, inverse = _distinct(column)
    names = [name_of(value) for value in values.tolist()]
    nameless = np.array([name is None for name in names], bool)
    index = inverse.astype(np.int32)
    mask = nameless[index] if len(names) else np.zeros(len(index), bool)
    return pa.DictionaryArray.from_arrays(
        pa.array(index, mask=mask), pa.array([name or "" for name in names], pa.utf8())
    )


def _distinct(column: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The distinct values of a column, ascending, and the index among them of each row's value."""
    if column.dtype == np.uint8:
        occurs = np.bincount(column, minlength=256) > 0
        return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[column]
    groups = grouped(column)
    order = np.argsort(column[groups.first])
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return column[groups.first[order]], rank[groups.group_of]


def _until_nul(raw: bytes) -> str | None:
    return text.until_nul(raw) or None


def _errno_names(results: npt.NDArray[np.int32]) -> pa.Array:
    return _names(results, lambda result: errno_name(-result) if result else None).cast(pa.utf8())


def _plain(column: npt.NDArray[Any], name: str, bare: npt.NDArray[np.bool_]) -> pa.Array:
    return _nullable(column, ~bare) if name in UNKNOWN_OF_BARE else pa.array(np.ascontiguousarray(column))


def _nullable(column: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(np.ascontiguousarray(column), mask=~known)


def _column(batch: pa.RecordBatch, name: str, type_: pa.DataType) -> Any:
    index = batch.schema.get_field_index(name)
    if index < 0 or batch.schema.field(index).type != type_:
        raise RecordingError(f"it has no column {name} of type {type_}")
    return batch.column(index)


def _numbers(column: pa.Array, name: str) -> npt.NDArray[Any]:
    if column.null_count:
        raise RecordingError(f"column {name} has a null")
    return np.asarray(column)


def _filled(column: pa.Array, value: int) -> npt.NDArray[Any]:
    """The integers of a column, with ``value`` for a null: what fill_null() returns, in a fifth of its time."""
    validity, data = column.buffers()
    window = slice(column.offset, column.offset + len(column))
    numbers: npt.NDArray[Any] = np.frombuffer(data, str(column.type))[window]
    if not column.null_count:
        return numbers
    known = np.unpackbits(np.frombuffer(validity, np.uint8), count=window.stop, bitorder="little")[window]
    return np.where(known.view(bool), numbers, numbers.dtype.type(value))


def _used(column: pa.DictionaryArray) -> tuple[list[str | None], npt.NDArray[np.signedinteger[Any]]]:
    """The names that a column uses, and the index among them of each row's name. The last is None, a null's name.

    A dictionary may be far larger than the column, since it also serves the batches that follow. All names of one that
    is not larger are returned.
    """
    indices = _filled(column.indices, -1)
    least = -1 if column.null_count else 0
    if len(indices) and (indices.min() < least or indices.max() >= len(column.dictionary)):
        raise RecordingError("the index of a name lies outside its dictionary")
    if len(column.dictionary) <= len(indices):
        return [*column.dictionary.to_pylist(), None], indices
    used, inverse = np.unique(indices, return_inverse=True)
    nulls = np.count_nonzero(used < 0)
    return [*column.dictionary.take(pa.array(used[nulls:])).to_pylist(), None], inverse - nulls


def _cgroup_paths(identities: npt.NDArray[np.uint64], column: pa.DictionaryArray) -> dict[int, str | None]:
    """The path of each distinct cgroup id, None where the column has a null."""
    paths, indices = _used(column)
    if any(len(path or "") > _LONGEST_PATH for path in paths):
        raise RecordingError("a cgroup's path is longer than the kernel takes")
    first_row = np.full(len(paths), -1)  # of each path
    first_row[indices[::-1]] = np.arange(len(indices))[::-1]
    rows = first_row[first_row >= 0]
    if (identities.take(first_row.take(indices)) != identities).any():  # several cgroups have one path, or none
        rows = grouped(identities).first
    path_of: dict[int, str | None] = {}
    for identity, index in zip(identities[rows].tolist(), indices[rows].tolist(), strict=True):
        path_of.setdefault(identity, paths[index])
    return path_of
