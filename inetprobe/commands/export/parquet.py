"""Parquet: one file with one row per socket, or a folder with the three tables of ``query``.

A folder takes any number of recordings: ``OUT/traces/NAME.parquet`` and so on, NAME the recording's. Spark, DuckDB,
polars or pandas read ``OUT/traces`` as one table.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from inetprobe import __version__
from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.base.files import WholeFile
from inetprobe.base.text import file_name
from inetprobe.commands.export.formats import ExportOptions
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.rows import call_rows, recording_rows, trace_rows
from inetprobe.trace.rows.trace_rows import plain

_ROWS = 1 << 16


class ParquetTable:
    """One Parquet file, written in row groups, so that memory does not grow with it."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._output = WholeFile("export", path)
        self._schema = plain(schema)
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0
        # Timestamps in microseconds: Spark itself is abandoning INT96 of version 1.0.
        with self._output.writing():
            self._writer = pq.ParquetWriter(self._output.file, self._schema, compression="zstd")

    def add(self, rows: pa.RecordBatch) -> None:
        """Adds rows."""
        self._pending.append(rows)
        self._rows += rows.num_rows
        if self._rows >= _ROWS:
            self._flush()

    def finish(self, metadata: dict[str, str]) -> None:
        """Writes the remaining rows and the metadata, and gives the file its name."""
        self._flush()
        with self._output.writing():
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
        self._output.finish()

    def discard(self) -> None:
        """Removes the temporary file."""
        # Else pyarrow would try to complete the file when the writer is freed, and print how that failed.
        self._writer.is_open = False
        self._output.discard()

    def _flush(self) -> None:
        if not self._rows:
            return
        table = pa.Table.from_batches(self._pending).cast(self._schema)
        self._pending, self._rows = [], 0
        with self._output.writing():
            self._writer.write_table(table, row_group_size=2 * _ROWS)


class ParquetExport:
    """A sink that writes the tables of a run: traces and, into a folder, calls and recordings."""

    def __init__(self, paths: dict[str, str], run: Run, recording: str) -> None:
        self._run = run
        self._recording = file_name(recording)
        self._span = recording_rows.Span()
        self._tables: dict[str, ParquetTable] = {}
        schemas = {"traces": trace_rows.SCHEMA, "calls": call_rows.SCHEMA, "recordings": recording_rows.SCHEMA}
        try:
            for name, path in paths.items():
                self._tables[name] = ParquetTable(path, schemas[name])
        except InetprobeError:
            self.discard()
            raise

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Adds the rows of a batch to each table."""
        if not len(batch):
            return
        self._span.add(batch)
        rows = trace_rows.to_arrow(batch, run, self._recording)
        self._tables["traces"].add(rows)
        if "calls" in self._tables:
            self._tables["calls"].add(call_rows.of_traces(rows, batch))

    def summary(self, accounting: Accounting) -> None:
        """Writes the row of the recording, and puts the tables into place."""
        self._finish(accounting, None)

    def cut_short(self, accounting: Accounting, problem: str) -> None:
        """As ``summary``, with the problem in the row of the recording."""
        self._finish(accounting, problem)

    def discard(self) -> None:
        """Leaves nothing of the output."""
        for table in self._tables.values():
            table.discard()

    def _finish(self, accounting: Accounting, problem: str | None) -> None:
        row = recording_rows.to_arrow(self._recording, self._run, self._span, accounting, problem)
        if "recordings" in self._tables:
            self._tables["recordings"].add(row)
        facts = row.select([n for n in recording_rows.SCHEMA.names if not n.endswith("_time")]).to_pylist()[0]
        facts |= {"version": __version__, "accounting": accounting.to_dict()}
        for table in self._tables.values():
            table.finish({"inetprobe": json.dumps(facts)})


def open_export(run: Run, options: ExportOptions) -> ParquetExport:
    """See inetprobe.commands.export.formats: ``-o FOLDER/``, or an existing folder, asks for all three tables."""
    if options.output == "-":
        raise UsageError("Parquet cannot be written to stdout: give -o OUT.parquet, or -o FOLDER/ for all three tables")
    out = Path(options.output)
    if not options.output.endswith("/") and not out.is_dir():
        return ParquetExport({"traces": options.output}, run, options.recording)
    name = Path(options.recording).stem + ".parquet"
    paths = {table: out / table / name for table in ("traces", "calls", "recordings")}
    for path in paths.values():
        _refuse_other(path, options.recording)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InetprobeError(f"the folder {path.parent} cannot be created: {error.strerror or error}") from None
    return ParquetExport({table: str(path) for table, path in paths.items()}, run, options.recording)


def _refuse_other(path: Path, recording: str) -> None:
    """Raises UsageError if ``path`` is another recording's export: one must not silently replace the other."""
    if not path.exists():
        return
    try:
        metadata = pq.read_metadata(path).metadata or {}
        known = json.loads(metadata[b"inetprobe"])["recording"]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path} exists and is not an export of {recording}: give another folder") from None
    if known != file_name(recording):
        raise UsageError(f"{path} is the export of another recording, {known}: give another folder")
