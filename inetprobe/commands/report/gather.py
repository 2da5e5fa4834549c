"""Reads recordings once each, batch by batch, and keeps what a page needs, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.errors import RecordingError
from inetprobe.base.text import file_name
from inetprobe.commands.check.baseline import Sample
from inetprobe.commands.report.causes import Causes
from inetprobe.commands.report.slowest import Slowest
from inetprobe.commands.report.stages import Stages
from inetprobe.commands.report.timeline import Timeline
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.record.run import Run
from inetprobe.stats.overview import OverviewSink
from inetprobe.trace.pump import Pump, Sink


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
    shown, stats = Pump(source, options.filters), OverviewSink()
    causes, slowest = Causes(options.examples), Slowest(options.slowest)
    shared: list[Sink] = [
        gathered.stages,
        gathered.timeline,
        *([gathered.sample] if gathered.sample is not None else []),
    ]
    damage = None
    try:
        accounting = shown.into([stats, causes, slowest, *shared])
    except RecordingError as error:
        if not shown.shown:
            raise
        damage = str(error)
        accounting = shown.accounting()
    if not shown.shown:
        which = "no socket in it" if options.filters == Filters() else "no socket that passes the filters"
        raise RecordingError(f"{path} has {which}: there is nothing to report")
    return Recording(path, source.run, accounting, damage, causes, slowest, stats)
