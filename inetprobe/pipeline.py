"""The one way data flows: source → batch → filters → sinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inetprobe.errors import TraceError
from inetprobe.filters import Filters
from inetprobe.record import Batch, incomplete_reason
from inetprobe.run import Accounting
from inetprobe.sinks import Sink
from inetprobe.sources import Source
from inetprobe.trace import problems


def pump(source: Source, filters: Filters, sinks: Sequence[Sink], limit: int | None = None) -> Accounting:
    """Everything from ``source`` that the filters keep into every sink, then the accounting; at most ``limit`` traces.

    Raises TraceError at the first record whose calls do not nest, after all before it has been shown.
    """
    dropped: dict[str | None, int] = {}
    left = limit
    batches = source.batches()
    for batch in batches:
        kept = _keep(batch, source, filters, dropped, left)
        for sink in sinks:
            sink.batch(kept, source.run)
        if left is not None:
            left -= len(kept)
            if left <= 0:
                stop = getattr(source, "stop", None)
                if stop is not None:
                    stop()
                else:
                    break
    accounting = _without(source.accounting(), dropped)
    for sink in sinks:
        sink.summary(accounting)
    return accounting


def _keep(batch: Batch, source: Source, filters: Filters, dropped: dict[str | None, int], left: int | None) -> Batch:
    if not len(batch):
        return batch
    if problems(batch.records, source.run).any():
        raise TraceError(
            "a record does not describe a call trace: the recording is damaged, or written by another tool"
        )
    mask = filters.mask(batch.records, source.run)
    if left is not None:
        mask &= np.cumsum(mask) <= left
    for flags in batch.records["flags"][~mask].tolist():
        reason = incomplete_reason(flags)
        dropped[reason] = dropped.get(reason, 0) + 1
    return Batch(batch.records[mask], batch.losses)


def _without(accounting: Accounting, dropped: dict[str | None, int]) -> Accounting:
    """What arrived and was then filtered out counts as filtered."""
    for reason, count in dropped.items():
        accounting.filtered += count
        if reason is None:
            accounting.complete -= count
        else:
            accounting.incomplete[reason] -= count
    accounting.incomplete = {reason: count for reason, count in accounting.incomplete.items() if count}
    return accounting
