"""The sampled stream: traces that need an explanation, for verdicts, exemplars and a log beside the exact counts."""

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
from inetprobe.record.layout import has_returned, is_incomplete
from inetprobe.record.measures import UNKNOWN_ERRNO, create_indices, creations, errnos, failed, module_requests, seen
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.shapes import Words, alike
from inetprobe.stats.snapshot import OutcomeKey
from inetprobe.trace.pump import Sink
from inetprobe.trace.verdict import VerdictCache

K = TypeVar("K", bound=Hashable)

# Examples kept for duration buckets, and as many for failures: the newest.
_MAX_EXAMPLES = 256


class DurationKey(NamedTuple):
    """A bucket of the creation-duration histogram; ``bucket`` counts from 0, the last one is above all bounds."""

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
    """What the stream has shown so far: counts since the start, and the newest examples."""

    verdicts: Mapping[str, int] = field(default_factory=dict)
    malformed: int = 0
    durations: Mapping[DurationKey, TraceExample] = field(default_factory=dict)
    failures: Mapping[OutcomeKey, TraceExample] = field(default_factory=dict)
    log_lines_lost: int = 0


class VerdictStream:
    """A sink for records that need an explanation. ``counts`` may be called by another thread at any time.

    ``bounds_ns`` are the upper bounds of the duration histograms. ``log`` also gets every batch, and ``log_lines_lost``
    says how many of its lines are lost by now. If the log cannot be written any more, ``say`` gets one sentence and
    counting goes on.
    """

    def __init__(
        self,
        bounds_ns: tuple[int, ...],
        log: Sink | None,
        say: Callable[[str], None],
        log_lines_lost: Callable[[], int] = lambda: 0,
    ) -> None:
        self._bounds_ns = bounds_ns
        self._log = log
        self._say = say
        self._log_lines_lost = log_lines_lost
        self._verdict_cache = VerdictCache()
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter()
        self._malformed = 0
        self._durations: OrderedDict[DurationKey, TraceExample] = OrderedDict()
        self._failures: OrderedDict[OutcomeKey, TraceExample] = OrderedDict()

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Counts the verdicts of the batch and keeps its newest examples."""
        verdicts: Counter[str] = Counter()
        for verdict, count in zip(self._verdict_cache.of_shapes(batch, run), batch.shapes.counts.tolist(), strict=True):
            verdicts[verdict.verdict] += count
        with self._lock:
            self._verdicts.update(verdicts)
            self._malformed += sum(loss.count for loss in batch.losses if loss.reason == "malformed")
            self._keep(batch, run.clock_offset_ns)
        self._write(lambda log: log.batch(batch, run))

    def summary(self, accounting: Accounting) -> None:
        """Ends the log; the counts stay."""
        self._write(lambda log: log.summary(accounting))

    def counts(self) -> StreamCounts:
        """A copy of the counts and examples as of now."""
        with self._lock:
            return StreamCounts(
                dict(self._verdicts),
                self._malformed,
                dict(self._durations),
                dict(self._failures),
                self._log_lines_lost(),
            )

    def _keep(self, batch: Batch, clock_offset_ns: int) -> None:
        calls = batch.calls
        indices = create_indices(batch.distinct.records).take(batch.shapes.group_of)
        creates = calls.starts + np.maximum(indices, 0)
        durations = calls.duration_ns[creates]
        buckets = np.searchsorted(np.array(self._bounds_ns, np.uint64), durations).astype(np.uint64)
        ended = (indices >= 0) & has_returned(calls.flags[creates])
        newest = _last_of_each([batch.shapes.group_of.astype(np.uint64), buckets], np.flatnonzero(ended))
        records = creations(batch.take(newest).records)
        names = ("family", "type", "protocol", "cpu", "seq", "start_ns")
        columns = [records[name].tolist() for name in names]
        for family, type_, protocol, cpu, seq, start_ns, duration_ns, bucket, errno in zip(
            *columns, durations[newest].tolist(), buckets[newest].tolist(), errnos(records).tolist(), strict=True
        ):
            example = TraceExample(f"{cpu}-{seq}", start_ns + duration_ns + clock_offset_ns, duration_ns)
            _keep_newest(self._durations, DurationKey(family, type_, bucket), example)
            if errno != 0:
                number = None if errno == UNKNOWN_ERRNO else errno
                _keep_newest(self._failures, OutcomeKey(family, type_, protocol, number), example)

    def _write(self, write: Callable[[Sink], None]) -> None:
        if self._log is None:
            return
        try:
            write(self._log)
        except OSError as error:
            self._log = None
            self._say(f"the log of failures ends here, since it cannot be written: {error.strerror or error}")


class StreamSelector:
    """A sink that passes on to ``stream`` the records that the kernel would have streamed live."""

    def __init__(self, stream: VerdictStream, slow_ns: int) -> None:
        self._stream = stream
        self._slow_ns = slow_ns

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Passes on the records that need an explanation, and every loss."""
        selected = np.flatnonzero(needs_explaining(batch, self._slow_ns))
        self._stream.batch(batch.take(selected, batch.losses), run)

    def summary(self, accounting: Accounting) -> None:
        """Passes on the accounting."""
        self._stream.summary(accounting)


def needs_explaining(batch: Batch, slow_ns: int) -> npt.NDArray[np.bool_]:
    """Which records failed, asked for a module, made a sock in at least ``slow_ns``, or were not seen whole? ``[rows]``
    bool. Of those without a create, only which failed?"""
    kinds, calls, group_of = batch.distinct.records, batch.calls, batch.shapes.group_of
    creates = create_indices(kinds)
    needed = failed(kinds) | (module_requests(kinds) > 0) | is_incomplete(kinds["flags"]) | ~seen(kinds)
    needed &= (creates >= 0) | failed(kinds)
    slow: npt.NDArray[np.bool_] = creates.take(group_of) >= 0
    slow &= calls.duration_ns.take(calls.starts + np.maximum(creates, 0).take(group_of)) >= np.uint64(slow_ns)
    slow |= needed.take(group_of)
    return slow


def _last_of_each(words: list[Words], rows: Indices) -> Indices:
    """Of the rows whose words are equal, the last one, in the rows' order: an example before it would be replaced."""
    backwards = rows[::-1]
    last: Indices = backwards[alike([word[backwards] for word in words]).first][::-1]
    return last


def _keep_newest(kept: OrderedDict[K, TraceExample], key: K, example: TraceExample) -> None:
    kept[key] = example
    kept.move_to_end(key)
    if len(kept) > _MAX_EXAMPLES:
        kept.popitem(last=False)
