"""The sink of ``top``: statistics that restart when the filter changes, and a Picture of them per interval."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.run import Run
from inetprobe.stats.overview import Overview, OverviewSink


@dataclass(frozen=True, slots=True)
class Picture:
    """The statistics at one moment.

    Rates are made of ``before``, the view one interval ago, and ``seconds``, the time since. Once the source has ended
    they are an empty view and the whole time; for a recording, the time that its records span. ``elapsed_s`` counts
    from the start of these statistics. ``lost`` are sockets without a record since the very start, by reason, whatever
    the filter. ``ended``: the source has ended; ``error``: its error, None without one.
    """

    view: Overview = field(default_factory=Overview)
    before: Overview = field(default_factory=Overview)
    seconds: float = 0.0
    elapsed_s: float = 0.0
    lost: Mapping[str, int] = field(default_factory=dict)
    ended: bool = False
    error: str | None = None

    def rate(self, table: str, key: Any, column: int | None = 0) -> float | None:
        """The rate per second of a key of the view's ``table``; ``column`` is of its counts, None for a plain count."""
        now, before = getattr(self.view, table)[key], getattr(self.before, table).get(key)
        if column is not None:
            now, before = now[column], before[column] if before else None
        return self.per_second(now - (before or 0))

    def per_second(self, count: int) -> float | None:
        """A count of this interval as a rate; None if no time has passed. A key that was dropped restarts from 0."""
        return max(count, 0) / self.seconds if self.seconds > 0 else None


class Collector:
    """A sink (see Sink) for one thread; another thread may read ``frame`` and change the filter."""

    def __init__(self, interval_s: float, *, replayed: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self.frame = Picture()
        self._interval_s = interval_s
        self._replayed = replayed
        self._now = now
        self._lost: Counter[str] = Counter()
        self._wanted = self._filters = Filters()
        self._error: str | None = None
        self._start()

    @property
    def filters(self) -> Filters:
        """The filters of what is counted."""
        return self._wanted

    def restart(self, filters: Filters) -> None:
        """Restarts with the next batch, counting only sockets that pass ``filters``. From any thread."""
        self._wanted = filters

    def batch(self, batch: Batch, run: Run) -> None:
        """Counts what the filters keep of a batch, and publishes when an interval is over."""
        if self._wanted is not self._filters:
            self._filters = self._wanted
            self._start()
        for loss in batch.losses:
            self._lost[loss.reason] += loss.count
        if len(batch):
            mask = self._filters.mask(batch.records, run)
            self._stats.batch(Batch(batch.records) if mask.all() else batch.take(np.flatnonzero(mask)), run)
        if self._now() - self._published >= self._interval_s:
            self._publish()

    def summary(self, accounting: Accounting) -> None:
        """Takes the losses of the whole run, and publishes for the last time."""
        for reason, count in accounting.lost.items():
            self._lost[reason] = max(self._lost[reason], count)
        self._publish(ended=True)

    def failed(self, error: str) -> None:
        """The source ended early, with ``error``."""
        self._error = error
        self._publish(ended=True)

    def again(self) -> None:
        """The source starts over, so losses do as well."""
        self._lost.clear()
        self._error = None

    def _start(self) -> None:
        self._stats = OverviewSink()
        self._began = self._published = self._now()
        self._before: Overview | None = None

    def _publish(self, *, ended: bool = False) -> None:
        now, view = self._now(), self._stats.view()
        before, seconds = self._before or Overview(), now - self._published  # the first interval counts from nothing
        if self._replayed:
            before, seconds = Overview(), _span_s(view)
        elif ended:
            before, seconds = Overview(), now - self._began
        self.frame = Picture(view, before, seconds, now - self._began, dict(self._lost), ended, self._error)
        self._before, self._published = view, now


def _span_s(view: Overview) -> float:
    return 0.0 if view.first_ns is None or view.last_ns is None else (view.last_ns - view.first_ns) / 1e9
