"""A batch as a row per socket, with the contract's JSON keys as columns, made column by column.

Integers are signed and have at most 64 bits, since Spark has no others. Strings may be dictionaries, which ``plain``
resolves. ``time`` is in microseconds, as Spark's timestamps are; ``time_ns`` is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from inetprobe.base import text
from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.errors import RecordingError
from inetprobe.model.inet_sock import Sock
from inetprobe.record.batch import Batch
from inetprobe.record.calls import Indices, used
from inetprobe.record.layout import Records, has_returned
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.self_time import signed
from inetprobe.record.stacks import Stack, as_dict
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output.json_lines import to_dict
from inetprobe.trace.output.json_template import has_descriptor

NAME = pa.dictionary(pa.int32(), pa.utf8())
CALL = pa.struct(
    [
        ("function", NAME),
        ("depth", pa.int32()),
        ("start_ns", pa.int64()),
        ("duration_ns", pa.int64()),
        ("result", pa.int32()),
        ("pointer", NAME),
        ("module", NAME),
    ]
)
_FRAMES = pa.list_(NAME)
STACK = pa.struct(
    [
        ("kernel", _FRAMES),
        ("user", _FRAMES),
        ("lost", pa.struct([(side, pa.utf8()) for side in Stack._fields])),
    ]
)
# The columns that depend on the shape alone.
_SHAPED = {
    "syscall": NAME,
    "family": pa.int32(),
    "family_name": NAME,
    "type": pa.int32(),
    "type_name": NAME,
    "protocol": pa.int32(),
    "protocol_name": NAME,
    "kernel_socket": pa.bool_(),
    "context": NAME,
    "prot": NAME,
    "outcome": NAME,
    "errno": NAME,
    "stage": NAME,
    "verdict": NAME,
    "rule": NAME,
    "reason": NAME,
    "evidence": pa.list_(NAME),
    "fix": pa.list_(pa.struct([("do", NAME), ("effect", NAME)])),
    "complete": pa.bool_(),
}
SCHEMA = pa.schema(
    [
        ("recording", NAME),
        ("id", pa.utf8()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("time_ns", pa.int64()),
        ("mono_ns", pa.int64()),
        ("pid", pa.int64()),
        ("tid", pa.int64()),
        ("ppid", pa.int64()),
        ("uid", pa.int64()),
        ("comm", NAME),
        ("cgroup", NAME),
        ("container", NAME),
        ("runtime", NAME),
        ("pod", NAME),
        ("unit", NAME),
        ("netns", pa.int64()),
        ("cpu", pa.int32()),
        *_SHAPED.items(),
        ("duration_ns", pa.int64()),
        ("calls", pa.list_(CALL)),
        ("sock", pa.struct([(name, pa.int32()) for name in Sock._fields])),
        ("stack", STACK),
    ]
)


def to_arrow(batch: NestedBatch, run: Run, recording: str) -> pa.RecordBatch:
    """A row per record of the batch. Raises RecordingError for a time that exceeds signed 64 bits."""
    records = batch.records
    shapes, inverse = [to_dict(trace, run) for trace in call_traces(batch.distinct, run)], batch.shapes.group_of
    columns = _own(records, run, recording)
    for name, type_ in _SHAPED.items():
        columns[name] = spread([shape.get(name) for shape in shapes], inverse, type_)
    columns["calls"] = _calls(records, shapes, inverse)
    columns["sock"] = pa.array([shape.get("sock") for shape in shapes], SCHEMA.field("sock").type).take(
        pa.array(inverse)
    )
    columns["stack"] = _stacks(batch, run)
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def spread(values: Sequence[Any], inverse: Indices, type_: pa.DataType) -> pa.Array:
    """A column of ``values[inverse]``."""
    if not pa.types.is_dictionary(type_):
        return pa.array(values, type_).take(pa.array(inverse))
    index = inverse.astype(np.int32)
    missing = np.array([value is None for value in values], bool)
    mask = missing[index] if len(values) else None
    words = pa.array(["" if value is None else value for value in values], pa.utf8())
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=mask), words)


def plain(schema: pa.Schema) -> pa.Schema:
    """The schema with utf8 instead of dictionaries, also within lists and structs."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return type_.value_type
    if pa.types.is_list(type_):
        return pa.list_(_plain(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _plain(field.type)) for field in type_])
    return type_


def _own(records: Records, run: Run, recording: str) -> dict[str, pa.Array]:
    """The columns that differ between records of one shape."""
    mono = signed(records["start_ns"], "time")
    columns = {name: pa.array(records[name].astype(np.int64)) for name in ("pid", "tid", "ppid", "uid")}
    columns["recording"] = spread([recording], np.zeros(len(records), np.intp), NAME)
    cpu, seq = (pa.array(np.ascontiguousarray(records[name])).cast(pa.utf8()) for name in ("cpu", "seq"))
    columns["id"] = pc.binary_join_element_wise(cpu, seq, "-")
    columns["mono_ns"] = pa.array(mono)
    columns["time_ns"] = pa.array(_epoch(mono, run.clock_offset_ns))
    # Rounded down, as a clock with microseconds would show it.
    columns["time"] = pa.array(np.asarray(columns["time_ns"]) // 1000).cast(SCHEMA.field("time").type)
    columns["netns"] = pa.array(records["netns"].astype(np.int64), mask=records["netns"] == 0)
    columns["cpu"] = pa.array(records["cpu"].astype(np.int32))
    names, inverse = np.unique(records["comm"], return_inverse=True)
    columns["comm"] = spread([text.decode(name.partition(b"\0")[0]) for name in names.tolist()], inverse, NAME)
    values, inverse = np.unique(records["cgroup_id"], return_inverse=True)
    paths = [run.cgroups.get(identity) for identity in values.tolist()]
    owners = [owner_of(path) for path in paths]
    columns["cgroup"] = spread(paths, inverse, NAME)
    for name in ("container", "runtime", "pod", "unit"):
        columns[name] = spread([getattr(owner, name) for owner in owners], inverse, NAME)
    outermost = records["calls"][:, 0]
    columns["duration_ns"] = _duration(outermost)
    return columns


def _epoch(mono: npt.NDArray[np.int64], offset: int) -> npt.NDArray[np.int64]:
    """Nanoseconds since 1970."""
    if len(mono) and not -(1 << 63) <= int(mono.min()) + offset <= int(mono.max()) + offset < 1 << 63:
        raise RecordingError("the recording has times beyond the years 1677 to 2262: they cannot be shown as a column")
    since_epoch: npt.NDArray[np.int64] = mono + np.int64(offset)
    return since_epoch


def _duration(calls: npt.NDArray[np.void]) -> pa.Array:
    unseen = ~has_returned(calls["flags"])
    return pa.array(signed(np.where(unseen, 0, calls["duration_ns"]), "duration"), mask=unseen)


def _stacks(batch: Batch, run: Run) -> pa.Array:
    if not batch.has_stack:
        return pa.nulls(len(batch), STACK)
    numbers, inverse = np.unique(batch.column("stack"), return_inverse=True)
    return pa.array([as_dict(run.stacks.get(number)) for number in numbers.tolist()], STACK).take(pa.array(inverse))


def _calls(records: Records, shapes: list[dict[str, Any]], inverse: Indices) -> pa.ListArray:
    """The calls of each socket: those of its shape, with its own times."""
    in_use = used(records)
    calls = records["calls"][in_use]
    ncalls = records["ncalls"].astype(np.int64)
    listed = [call for shape in shapes for call in shape["calls"]]
    before = np.cumsum([0, *(len(shape["calls"]) for shape in shapes)])
    row, slot = np.nonzero(in_use)
    indices = before[inverse[row]] + slot
    columns = {
        name: spread([call.get(name) for call in listed], indices, CALL.field(name).type)
        for name in ("function", "depth", "result", "pointer", "module")
    }
    with_descriptor = np.array([has_descriptor(shape) for shape in shapes], bool)[inverse]
    columns["result"] = pc.replace_with_mask(
        columns["result"],
        pa.array(with_descriptor[row] & (slot == 0)),
        pa.array(records["descriptor"][with_descriptor]),
    )
    columns["start_ns"] = pa.array(signed(calls["start_ns"], "start"))
    columns["duration_ns"] = _duration(calls)
    struct = pa.StructArray.from_arrays([columns[field.name] for field in CALL], fields=list(CALL))
    offsets = np.concatenate([[0], np.cumsum(ncalls)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), struct)
