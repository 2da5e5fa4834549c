"""A row per recording: the machine, the run, and where every socket went."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from inetprobe.base.errors import RecordingError
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.metadata import mechanism_text
from inetprobe.record.batch import Batch
from inetprobe.record.run import Run

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("recording", pa.utf8()),
        ("host", pa.utf8()),
        ("machine_id", pa.utf8()),
        ("kernel", pa.utf8()),
        ("architecture", pa.utf8()),
        ("mechanism", pa.utf8()),
        ("filters", pa.utf8()),
        ("first_time", _TIME),
        ("last_time", _TIME),
        ("sockets", pa.int64()),
        ("entries", pa.int64()),
        ("complete", pa.int64()),
        ("incomplete", pa.int64()),
        ("lost", pa.int64()),
        ("filtered", pa.int64()),
        ("in_flight", pa.int64()),
        ("incomplete_by_reason", pa.utf8()),
        ("lost_by_reason", pa.utf8()),
        ("problem", pa.utf8()),
    ]
)


class Span:
    """The number of sockets, and the time from the first to the last."""

    def __init__(self) -> None:
        self.sockets = 0
        self._first: int | None = None
        self._last = 0

    def add(self, batch: Batch) -> None:
        """Adds a batch."""
        if not len(batch):
            return
        starts = batch.records["start_ns"]
        first, last = int(np.min(starts)), int(np.max(starts))
        self._first = first if self._first is None else min(first, self._first)
        self._last = max(last, self._last)
        self.sockets += len(batch)

    def times(self, offset: int) -> tuple[int | None, int | None]:
        """The starts of the first and the last socket in microseconds since the epoch; None without sockets.

        ``offset`` is the run's ``clock_offset_ns``.
        """
        if self._first is None:
            return None, None
        return (self._first + offset) // 1000, (self._last + offset) // 1000


def to_arrow(recording: str, run: Run, span: Span, accounting: Accounting, problem: str | None) -> pa.RecordBatch:
    """The one row; ``problem`` says why the recording is not whole, None if it is.

    Raises RecordingError for a count that exceeds signed 64 bits.
    """
    first, last = span.times(run.clock_offset_ns)
    row = {
        "recording": recording,
        "host": run.host,
        "machine_id": run.machine_id,
        "kernel": run.kernel,
        "architecture": run.architecture,
        "mechanism": mechanism_text(run.mechanisms),
        "filters": " ".join(run.filters),
        "first_time": first,
        "last_time": last,
        "sockets": span.sockets,
        "entries": accounting.entries,
        "complete": accounting.complete,
        "incomplete": sum(accounting.incomplete.values()),
        "lost": sum(accounting.lost.values()),
        "filtered": accounting.filtered,
        "in_flight": accounting.in_flight,
        "incomplete_by_reason": json.dumps(accounting.incomplete),
        "lost_by_reason": json.dumps(accounting.lost),
        "problem": problem,
    }
    for name, value in row.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise RecordingError(f"the accounting of the recording has {value:,} {name}: no column holds so many")
    return pa.RecordBatch.from_pylist([row], schema=SCHEMA)
