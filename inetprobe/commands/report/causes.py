"""Why sockets failed, or were not what the model expects: by cause, how many, whose, and a few of each kept whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from inetprobe.record.accounting import Accounting
from inetprobe.record.measures import failed
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.stats.top_keys import OTHER, Other, TopKeys
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.verdict import judge

#: Causes, and pairs of a cause and a comm, that are told apart; the rest is counted together.
MOST_CAUSES, MOST_ASKERS = 1024, 4096


class Cause(NamedTuple):
    """What was asked for, what became of it and why.

    ``verdict`` is the model's; ``outcome`` the errno, ``"NULL"``, ``"ok"`` or ``"?"`` where it was not seen.
    """

    verdict: str
    request: str
    outcome: str
    failed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CauseFound:
    """How many sockets had one cause, by comm (``OTHER`` for the rest), and the first few of them."""

    count: int
    comms: Counter[str | Other]
    examples: tuple[CallTrace, ...]


@dataclass(slots=True)
class Causes:
    """A sink of one run. It judges every socket, and tells the causes of those that failed, deviated from the model or
    were not seen whole; ``verdicts`` counts them all, ``bare`` those of the unmodelled that no create made, and
    ``beyond`` says why the model has no say on the first of the others."""

    examples: int
    verdicts: Counter[str] = field(default_factory=Counter)
    bare: int = 0
    beyond: str = ""
    _causes: TopKeys[Cause] = field(default_factory=lambda: TopKeys(MOST_CAUSES, 1))
    _askers: TopKeys[tuple[Cause, str]] = field(default_factory=lambda: TopKeys(MOST_ASKERS, 1))
    _kept: dict[Cause, list[CallTrace]] = field(default_factory=dict)

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Judges a batch, each shape once."""
        if not len(batch):
            return
        shapes, distinct = batch.shapes, batch.distinct
        causes: list[Cause | None] = []
        for trace, fails, count in zip(
            call_traces(distinct, run), failed(distinct.records).tolist(), shapes.counts.tolist(), strict=True
        ):
            cause = _cause(trace, fails, run)
            self.verdicts[cause.verdict] += count
            if trace.bare and cause.verdict == "unmodelled":
                self.bare += count
            elif cause.verdict == "unmodelled":
                self.beyond = self.beyond or cause.reason
            causes.append(cause if fails or cause.verdict in ("deviation", "incomplete") else None)
        troubled = np.array([cause is not None for cause in causes], bool)
        rows = np.flatnonzero(troubled[shapes.group_of])
        if len(rows):
            self._add(batch.take(rows), [causes[shape] for shape in shapes.group_of[rows].tolist()], run)

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def found(self) -> tuple[dict[Cause, CauseFound], int]:
        """What was found by cause, the most frequent first, and how many sockets had causes beyond ``MOST_CAUSES``."""
        comms: dict[Cause, Counter[str | Other]] = {}
        for key, (count, _) in self._askers.items():
            if not isinstance(key, Other):
                cause, comm = key
                comms.setdefault(cause, Counter())[comm] = count
        found, rest = {}, 0
        for row, (count, _) in sorted(self._causes.items(), key=lambda item: -item[1][0]):
            if isinstance(row, Other):
                rest = count
                continue
            named = comms.get(row, Counter())
            if count > named.total():
                named[OTHER] = count - named.total()
            found[row] = CauseFound(count, named, tuple(self._kept.get(row, ())))
        return found, rest

    def _add(self, batch: NestedBatch, causes: list[Cause | None], run: Run) -> None:
        first, groups, each = batch.shapes_by("comm")
        counts = each.tolist()
        traces = list(call_traces(batch.take(first), run))
        named = [causes[place] for place in first.tolist()]
        keys = [cause for cause in named if cause is not None]
        self._causes.add(keys, [counts])
        self._askers.add([(cause, trace.comm) for cause, trace in zip(keys, traces, strict=True)], [counts])
        for place, cause in enumerate(keys):
            kept = self._kept.setdefault(cause, [])
            room = self.examples - len(kept)
            if room > 0:
                kept += call_traces(batch.take(np.flatnonzero(groups == place)[:room]), run)
        if len(self._kept) > 2 * MOST_CAUSES:
            there = {key for key, _ in self._causes.items()}
            self._kept = {cause: kept for cause, kept in self._kept.items() if cause in there}


def _cause(trace: CallTrace, fails: bool, run: Run) -> Cause:
    verdict = judge(trace, run.profile)
    outcome = trace.errno or ("NULL" if fails else "ok" if trace.duration_ns is not None else "?")
    return Cause(verdict.verdict, request(trace), outcome, fails, verdict.reason)
