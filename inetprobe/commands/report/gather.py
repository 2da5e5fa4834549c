"""Reads recordings once each, batch by batch, and keeps what a page needs, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inetprobe.base.errors import RecordingError
from inetprobe.base.text import file_name
from inetprobe.commands.check.baseline import Sample
from inetprobe.commands.report.causes import Causes
from inetprobe.commands.report.slowest import Slowest
from inetprobe.commands.report.stages import Stages
from inetprobe.commands.report.timeline import Timeline
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.layout import incomplete_reason
from inetprobe.record.run import Run
from inetprobe.stats.overview import OverviewSink
from inetprobe.trace.pump import Sink, pump


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """What to keep: the ``slowest`` sockets, ``examples`` per cause, and whether to sample for a comparison."""

    filters: Filters
    slowest: int = 20
    examples: int = 3
    sample: bool = False


@dataclass(slots=True)
class Recording:
    """One file, read. ``damage`` is the sentence that says where it ends too early, None for a complete file."""

    path: Path
    run: Run
    accounting: Accounting
    damage: str | None
    causes: Causes
    slowest: Slowest
    stats: OverviewSink

    @property
    def name(self) -> str:
        """The path as text that can be encoded."""
        return file_name(self.path)


@dataclass(slots=True)
class Gathered:
    """All files of one side of a page together. Accounting is not in ``stats`` but in each of ``recordings``."""

    recordings: list[Recording]
    stats: OverviewSink
    stages: Stages
    timeline: Timeline
    sample: Sample | None


class _Books:
    """A sink that counts the records that arrived, for a recording whose end, with the accounting, is missing."""

    def __init__(self) -> None:
        self.kept: Counter[str | None] = Counter()
        self.malformed = 0

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink."""
        values, counts = np.unique(batch.records["flags"], return_counts=True)
        for flags, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.kept[incomplete_reason(flags)] += count
        self.malformed += sum(loss.count for loss in batch.losses if loss.reason == "malformed")

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""

    def accounting(self, source: Accounting) -> Accounting:
        """The accounting of what was read; ``source`` is that of the source, before any filter."""
        arrived = source.complete + sum(source.incomplete.values())
        lost = {**source.lost, **({"malformed": self.malformed} if self.malformed else {})}
        return Accounting(
            entries=source.entries,
            complete=self.kept[None],
            incomplete={reason: count for reason, count in self.kept.items() if reason is not None},
            lost=lost,
            filtered=arrived - self.kept.total() - self.malformed,
        )


def gather(paths: Sequence[Path], options: GatherOptions, on_read: Callable[[int], None] | None = None) -> Gathered:
    """Reads all files; ``on_read`` gets each number of bytes read.

    Raises RecordingError for a file that is not a recording, or of which nothing can be shown. A file that ends too
    early is shown up to there.
    """
    gathered = Gathered([], OverviewSink(), Stages(), Timeline(), Sample() if options.sample else None)
    for path in paths:
        recording = _read(RecordingReader(path, on_read), path, options, gathered)
        gathered.recordings.append(recording)
        gathered.stats.merge(recording.stats)
    return gathered


def _read(source: RecordingReader, path: Path, options: GatherOptions, gathered: Gathered) -> Recording:
    books, stats = _Books(), OverviewSink()
    causes, slowest = Causes(options.examples), Slowest(options.slowest)
    shared: list[Sink] = [
        gathered.stages,
        gathered.timeline,
        *([gathered.sample] if gathered.sample is not None else []),
    ]
    damage = None
    try:
        accounting = pump(source, options.filters, [books, stats, causes, slowest, *shared])
    except RecordingError as error:
        if not books.kept:
            raise
        damage = str(error)
        accounting = books.accounting(source.accounting())
    if not books.kept:
        which = "no socket in it" if options.filters == Filters() else "no socket that passes the filters"
        raise RecordingError(f"{path} has {which}: there is nothing to report")
    return Recording(path, source.run, accounting, damage, causes, slowest, stats)
