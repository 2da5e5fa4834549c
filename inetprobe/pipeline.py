"""The one way data flows: source → filters → sinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inetprobe.errors import TraceError
from inetprobe.filters import Filters
from inetprobe.record import INCOMPLETE_FLAGS, Batch, Loss, Records
from inetprobe.run import Accounting, Run
from inetprobe.sinks import Sink
from inetprobe.sources import Source
from inetprobe.trace import problem_text, problems


@dataclass(slots=True)
class _Tally:
    """What became of the records the source gave."""

    complete: int = 0
    incomplete: dict[str, int] = field(default_factory=dict)
    filtered: int = 0
    malformed: int = 0

    @property
    def shown(self) -> int:
        return self.complete + sum(self.incomplete.values())

    def add(self, records: Records) -> None:
        """Counts records that were shown, an incomplete one under its worst reason."""
        left = records["flags"]
        for flag, reason in INCOMPLETE_FLAGS.items():
            hit = (left & flag) != 0
            if count := int(np.count_nonzero(hit)):
                self.incomplete[reason] = self.incomplete.get(reason, 0) + count
                left = left[~hit]
        self.complete += len(left)

    def correct(self, accounting: Accounting) -> Accounting:
        """The source's accounting with what happened to its records after it gave them."""
        accounting.complete = self.complete
        accounting.incomplete = {reason: self.incomplete[reason] for reason in sorted(self.incomplete)}
        accounting.filtered += self.filtered
        if self.malformed:
            accounting.lost["malformed"] = accounting.lost.get("malformed", 0) + self.malformed
        return accounting


def pump(source: Source, filters: Filters, sinks: Sequence[Sink], limit: int | None = None) -> Accounting:
    """Carries every batch through the filters to every sink, and gives them the accounting at the end.

    After ``limit`` records the source is told to stop; what it still gives counts as filtered. A live record whose calls
    do not nest counts as lost (``malformed``); in a recording it is damage: what came before it is shown, then TraceError
    is raised. Losses are shown whatever the filters say, since nobody knows what was lost. The sinks are not closed here.
    """
    tally = _Tally()
    for batch in source.batches():
        batch, damage = _well_formed(batch, source, tally)
        batch = _passed(batch, filters, source.run, tally, limit)
        for sink in sinks:
            sink.batch(batch, source.run)
        if damage is not None:
            raise damage
        if limit is not None and tally.shown >= limit:
            source.stop()
    accounting = tally.correct(source.accounting())
    for sink in sinks:
        sink.summary(accounting)
    return accounting


def _well_formed(batch: Batch, source: Source, tally: _Tally) -> tuple[Batch, TraceError | None]:
    codes = problems(batch.records, source.run)
    bad = codes != 0
    count = int(np.count_nonzero(bad))
    if not count:
        return batch, None
    if source.live:
        tally.malformed += count
        return Batch(batch.records[~bad], (*batch.losses, Loss("malformed", count))), None
    first = int(np.argmax(bad))
    error = TraceError(f"the recording is damaged: a socket in it is not a call trace: {problem_text(int(codes[first]))}")
    return Batch(batch.records[:first], batch.losses), error


def _passed(batch: Batch, filters: Filters, run: Run, tally: _Tally, limit: int | None) -> Batch:
    records = batch.records
    kept = records[filters.mask(records, run)]
    if limit is not None:
        kept = kept[: max(0, limit - tally.shown)]
    tally.add(kept)
    tally.filtered += len(records) - len(kept)
    return Batch(kept, batch.losses)
