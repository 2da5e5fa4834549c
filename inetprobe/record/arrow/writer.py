"""A recording: an Arrow IPC stream, written as the run goes on, so that a crash costs at most the last second.

The last batch is empty, and its metadata has the accounting (see ``metadata``); a recording without it was cut short.
"""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
import pyarrow as pa

from inetprobe.base.errors import InetprobeError
from inetprobe.base.files import OutputFile, cannot_write
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.columns import batch_to_arrow, schema, to_arrow
from inetprobe.record.arrow.metadata import accounting_metadata, clock_metadata, losses_metadata, run_metadata
from inetprobe.record.batch import Batch, Loss, joined
from inetprobe.record.layout import record_dtype
from inetprobe.record.run import Run

_FLUSH_S = 1.0
_ROWS = 16384


class RecordingWriter:
    """Writes one recording into an open file. Raises InetprobeError, once, if it cannot be written further."""

    def __init__(self, file: OutputFile, run: Run, redact: AbstractSet[str] = frozenset()) -> None:
        self._path = file.path
        self._file = file.file
        self._redact = redact
        self._pending: list[Batch] = []
        self._losses: list[Loss] = []
        self._rows = 0
        self._run: Run | None = None
        self._offset_ns = self._written_offset_ns = run.clock_offset_ns
        self._nothing = np.zeros(0, record_dtype(run.slots, sock=run.sock, stack=run.stack))
        # The first conversion is slow, also because pyarrow looks for pandas: do it before there is traffic.
        first = np.zeros(1, self._nothing.dtype)
        first["ncalls"] = 1
        to_arrow(first, Run("", 0))
        self._flushed = time.monotonic()
        try:
            self._writer = pa.ipc.new_stream(
                self._file, schema(sock=run.sock, stack=run.stack).with_metadata(run_metadata(run, redact))
            )
        except OSError as error:
            raise self._failed(error) from None

    def batch(self, batch: Batch, run: Run) -> None:
        """Writes the batch, or keeps it until enough wait or a second has passed."""
        if batch.losses or run.clock_offset_ns != self._offset_ns:
            # Both are written before the records that came after: those that came before are written first.
            self._flush(run)
            self._losses += batch.losses
            self._offset_ns = run.clock_offset_ns
        if len(batch):
            self._pending.append(batch)
            self._rows += len(batch)
        due = time.monotonic() - self._flushed >= _FLUSH_S
        if self._rows >= _ROWS or (due and (self._rows or self._losses)):
            self._flush(run)
        self._run = run

    def summary(self, accounting: Accounting) -> None:
        """Writes what waits and the accounting, and closes the file."""
        if self._run is not None:
            self._flush(self._run)
        self._write(to_arrow(self._nothing, Run("", 0)), accounting_metadata(accounting))
        try:
            self._writer.close()
            self._file.close()
        except OSError as error:
            raise self._failed(error) from None

    def cut_short(self) -> None:
        """Writes what waits without an accounting, and closes the file: the recording says that it is not whole."""
        if self._run is not None:
            self._flush(self._run)
        self._file.close()

    def _flush(self, run: Run) -> None:
        self._flushed = time.monotonic()
        if not self._rows and not self._losses:
            return
        batch = self._joined()
        shown = replace(run, cgroups={}) if "cgroup" in self._redact else run
        if "comm" in self._redact:
            shown = replace(shown, stacks=run.stacks.without_users())  # the functions of a program tell which it is
        metadata = losses_metadata(self._losses)
        if self._offset_ns != self._written_offset_ns:
            metadata |= clock_metadata(self._offset_ns)
            self._written_offset_ns = self._offset_ns
        self._pending, self._losses, self._rows = [], [], 0
        self._write(batch_to_arrow(batch, shown), metadata)

    def _joined(self) -> Batch:
        """All that waits, as one batch."""
        if len(self._pending) == 1 and "comm" not in self._redact:
            return self._pending[0]  # as in a replay: columns need not become records
        records = joined([batch.records for batch in self._pending]) if self._pending else self._nothing
        if "comm" in self._redact:
            records["comm"] = b"redacted"
        return Batch(records)

    def _write(self, batch: pa.RecordBatch, metadata: dict[str, str]) -> None:
        try:
            self._writer.write_batch(batch, custom_metadata=metadata or None)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> InetprobeError:
        return cannot_write("recording", self._path, error)


#: What --redact can leave out of a recording.
REDACTIONS = ("host", "comm", "cgroup")
