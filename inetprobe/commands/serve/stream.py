"""What the stream of records adds to the counts: verdicts, exemplars, a log of what needs an explanation."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.calls import Indices
from inetprobe.record.layout import has_returned, is_bare, is_incomplete
from inetprobe.record.measures import UNKNOWN_ERRNO, errnos, failed, module_requests, seen
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.shapes import Words, alike
from inetprobe.stats.snapshot import OutcomeKey
from inetprobe.trace.pump import Sink
from inetprobe.trace.verdict import VerdictCache

K = TypeVar("K", bound=Hashable)

#: The verdicts of a trace.
VERDICTS = ("ok", "deviation", "incomplete", "unmodelled")
# Exemplars kept of each kind: the newest.
_MOST = 256


class Slot(NamedTuple):
    """A bucket of a creation-duration histogram; ``bucket`` counts from 0, the last is beyond all bounds."""

    family: int
    type: int
    bucket: int


class TraceExample(NamedTuple):
    """A streamed creation. ``ended_ns`` is nanoseconds since the Unix epoch."""

    trace_id: str
    ended_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What the stream has told so far: counts since the start, and the newest examples."""

    verdicts: Mapping[str, int] = field(default_factory=dict)
    malformed: int = 0
    durations: Mapping[Slot, TraceExample] = field(default_factory=dict)
    failures: Mapping[OutcomeKey, TraceExample] = field(default_factory=dict)


class VerdictStream:
    """A sink for records that need an explanation; ``told`` may be called by another thread at any time.

    With ``log`` every record goes there too. When the log's reader has gone, ``say`` is told and the counting goes on.
    """

    def __init__(self, bounds_ns: tuple[int, ...], log: Sink | None, say: Callable[[str], None]) -> None:
        self._bounds_ns = bounds_ns
        self._log = log
        self._say = say
        self._judge = VerdictCache()
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter()
        self._malformed = 0
        self._durations: OrderedDict[Slot, TraceExample] = OrderedDict()
        self._failures: OrderedDict[OutcomeKey, TraceExample] = OrderedDict()

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Counts and logs a batch."""
        verdicts: Counter[str] = Counter()
        for verdict, count in zip(self._judge.of_shapes(batch, run), batch.shapes.counts.tolist(), strict=True):
            verdicts[verdict.verdict] += count
        with self._lock:
            self._verdicts.update(verdicts)
            self._malformed += sum(loss.count for loss in batch.losses if loss.reason == "malformed")
            self._keep(batch, run.clock_offset_ns)
        self._write(lambda log: log.batch(batch, run))

    def summary(self, accounting: Accounting) -> None:
        """Passes the accounting on to the log."""
        self._write(lambda log: log.summary(accounting))

    def told(self) -> StreamCounts:
        """A copy, of this moment."""
        with self._lock:
            return StreamCounts(dict(self._verdicts), self._malformed, dict(self._durations), dict(self._failures))

    def _keep(self, batch: Batch, clock_offset_ns: int) -> None:
        calls = batch.calls
        durations = calls.duration_ns[calls.starts]
        buckets = np.searchsorted(np.array(self._bounds_ns, np.uint64), durations).astype(np.uint64)
        known = ~is_bare(batch.column("flags")) & has_returned(calls.flags[calls.starts])
        newest = _last_of_each([batch.shapes.group_of.astype(np.uint64), buckets], np.flatnonzero(known))
        records = batch.take(newest).records
        names = ("family", "type", "protocol", "cpu", "seq", "start_ns")
        columns = [records[name].tolist() for name in names]
        for family, type_, protocol, cpu, seq, start_ns, duration_ns, bucket, errno in zip(
            *columns, durations[newest].tolist(), buckets[newest].tolist(), errnos(records).tolist(), strict=True
        ):
            example = TraceExample(f"{cpu}-{seq}", start_ns + duration_ns + clock_offset_ns, duration_ns)
            _newest(self._durations, Slot(family, type_, bucket), example)
            if errno != 0:
                number = None if errno == UNKNOWN_ERRNO else errno
                _newest(self._failures, OutcomeKey(family, type_, protocol, number), example)

    def _write(self, write: Callable[[Sink], None]) -> None:
        if self._log is None:
            return
        try:
            write(self._log)
        except OSError as error:
            self._log = None
            self._say(f"the log of failures ends here, since it cannot be written: {error.strerror or error}")


class Selected:
    """A sink that passes on what the live stream would carry, of records that were not chosen by the kernel."""

    def __init__(self, stream: VerdictStream, slow_ns: int) -> None:
        self._stream = stream
        self._slow_ns = slow_ns

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Passes on the records that need an explanation."""
        chosen = np.flatnonzero(needs_explaining(batch, self._slow_ns))
        self._stream.batch(batch.take(chosen, batch.losses), run)

    def summary(self, accounting: Accounting) -> None:
        """Passes the accounting on."""
        self._stream.summary(accounting)


def needs_explaining(batch: Batch, slow_ns: int) -> npt.NDArray[np.bool_]:
    """Which failed, asked for a module, took at least ``slow_ns``, or were not seen whole?"""
    kinds = batch.distinct.records
    incomplete = is_incomplete(kinds["flags"])
    odd: npt.NDArray[np.bool_] = failed(kinds) | (module_requests(kinds) > 0) | incomplete | ~seen(kinds)
    slow: npt.NDArray[np.bool_] = batch.calls.duration_ns.take(batch.calls.starts) >= np.uint64(slow_ns)
    slow |= odd.take(batch.shapes.group_of)
    return slow


def _last_of_each(words: list[Words], rows: Indices) -> Indices:
    """Of these rows the last of each with the same words, in their order: nothing before it will be remembered."""
    backwards = rows[::-1]
    found: Indices = backwards[alike([word[backwards] for word in words]).first][::-1]
    return found


def _newest(kept: OrderedDict[K, TraceExample], key: K, example: TraceExample) -> None:
    kept[key] = example
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
