"""Recordings as Arrow streams that DuckDB can scan as often as a query needs, each time from the files.

Only the current batch is in memory. Damage is remembered and not raised: a query answers from the readable part, and
the command then reports the damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from inetprobe.base.errors import RecordingError
from inetprobe.base.text import file_name
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.pump import Pump
from inetprobe.trace.rows import call_rows, recording_rows, trace_rows

Rows = Callable[[NestedBatch, Run, str], pa.RecordBatch]


class Recordings:
    """The recordings of a query, by the names they were given.

    ``problems`` and ``lost`` are by name, for what has been read so far: why a recording is not complete, and how many
    sockets it lost, by reason. Raises RecordingError for a file that is not a recording.
    """

    def __init__(self, names: Sequence[str], on_read: Callable[[int], None] | None = None) -> None:
        self._names = names
        self._on_read = on_read
        self.problems: dict[str, str] = {}
        self.lost: dict[str, dict[str, int]] = {}
        for name in names:
            RecordingReader(Path(name))

    def tables(self) -> dict[str, RowStream]:
        """The tables of a query, by name."""
        return {
            "traces": RowStream(trace_rows.SCHEMA, lambda: self._rows(trace_rows.to_arrow)),
            "calls": RowStream(call_rows.SCHEMA, lambda: self._rows(call_rows.to_arrow)),
            "recordings": RowStream(recording_rows.SCHEMA, self._recordings),
        }

    def _rows(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        for name in self._names:
            source = RecordingReader(Path(name), self._on_read)
            for batch in self._batches(name, Pump(source)):
                try:
                    made = rows(batch, source.run, file_name(name))
                except RecordingError as error:
                    self.problems[name] = f"{file_name(name)}: {error}"
                    break
                yield made

    def _recordings(self) -> Iterator[pa.RecordBatch]:
        for name in self._names:
            source = RecordingReader(Path(name), self._on_read)
            pump = Pump(source)
            span = recording_rows.Span()
            for batch in self._batches(name, pump):
                span.add(batch)
            problem = self.problems.get(name)
            try:
                row = recording_rows.to_arrow(file_name(name), source.run, span, pump.accounting(), problem)
            except RecordingError as error:
                self.problems[name] = f"{file_name(name)}: {error}"
                continue
            yield row

    def _batches(self, name: str, pump: Pump) -> Iterator[NestedBatch]:
        """The batches that are not empty."""
        try:
            yield from filter(len, pump.batches())
        except RecordingError as error:
            self.problems[name] = str(error)
        self.lost[name] = {reason: count for reason, count in pump.accounting().lost.items() if count}


class RowStream:
    """An Arrow stream (the PyCapsule interface) that restarts each time it is requested."""

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self._schema = schema
        self._batches = batches

    def __arrow_c_schema__(self) -> Any:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)
