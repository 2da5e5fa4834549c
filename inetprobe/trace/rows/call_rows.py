"""A batch as a row per call, each with the socket that it belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from inetprobe.record.calls import used
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.self_time import self_times
from inetprobe.trace.rows import trace_rows

SCHEMA = pa.schema(
    [
        ("recording", trace_rows.NAME),
        ("trace_id", pa.utf8()),
        ("position", pa.int32()),
        *((field.name, field.type) for field in trace_rows.CALL),
        ("self_ns", pa.int64()),
    ]
)


def of_traces(rows: pa.RecordBatch, batch: NestedBatch) -> pa.RecordBatch:
    """The calls of the sockets in ``rows``, which is ``trace_rows.to_arrow`` of the batch.

    ``position`` counts the calls of a socket from 0, in order of entry; ``self_ns`` is null where a return was not
    seen.
    """
    row, position = np.nonzero(used(batch.records))
    socket = pa.array(row)
    calls = rows.column("calls").flatten()
    own = self_times(batch.calls)
    columns = [
        rows.column("recording").take(socket),
        rows.column("id").take(socket),
        pa.array(position.astype(np.int32)),
    ]
    columns += [calls.field(index) for index in range(calls.type.num_fields)]
    columns.append(pa.array(own, mask=own < 0))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def to_arrow(batch: NestedBatch, run: Run, recording: str) -> pa.RecordBatch:
    """A row per call of the batch. Raises RecordingError as ``trace_rows.to_arrow`` does."""
    return of_traces(trace_rows.to_arrow(batch, run, recording), batch)
