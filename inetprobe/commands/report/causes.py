"""Why sockets failed or deviated from the model: by cause, the number, the commands, and a few traces of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from inetprobe.model.explanation import Explanation
from inetprobe.record.accounting import Accounting
from inetprobe.record.measures import failed
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.stats.top_keys import OTHER, Other, TopKeys
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.verdict import judge

#: Causes, and pairs of a cause and a comm, that are counted separately; the rest is counted together.
MOST_CAUSES, MOST_ASKERS = 1024, 4096


class Cause(NamedTuple):
    """The request, its outcome and why.

    ``verdict`` is the model's; ``outcome`` is the errno, ``"NULL"``, ``"ok"`` or ``"unknown"``.
    """

    verdict: str
    request: str
    outcome: str
    failed: bool
    why: Explanation


@dataclass(frozen=True, slots=True)
class CauseFound:
    """The number of sockets with one cause, also by comm (``OTHER`` for the rest), and the first few of them."""

    count: int
    comms: Counter[str | Other]
    examples: tuple[CallTrace, ...]


@dataclass(slots=True)
class Causes:
    """A sink of one run that judges all sockets and counts the causes of those that failed, deviated from the model or
    are incomplete. ``verdicts`` counts all sockets, ``bare`` the unmodelled socks that inet_create did not create;
    ``beyond`` is the reason why the first of the other unmodelled sockets is not covered by the model."""

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
                self.beyond = self.beyond or cause.why.reason
            causes.append(cause if fails or cause.verdict in ("deviation", "incomplete") else None)
        troubled = np.array([cause is not None for cause in causes], bool)
        rows = np.flatnonzero(troubled[shapes.group_of])
        if len(rows):
            self._add(batch.take(rows), [causes[shape] for shape in shapes.group_of[rows].tolist()], run)

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def found(self) -> tuple[dict[Cause, CauseFound], int]:
        """The causes, the most frequent first, and the number of sockets with causes beyond ``MOST_CAUSES``."""
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
        named = [causes[index] for index in first.tolist()]
        keys = [cause for cause in named if cause is not None]
        self._causes.add(keys, [counts])
        self._askers.add([(cause, trace.comm) for cause, trace in zip(keys, traces, strict=True)], [counts])
        for index, cause in enumerate(keys):
            kept = self._kept.setdefault(cause, [])
            room = self.examples - len(kept)
            if room > 0:
                kept += call_traces(batch.take(np.flatnonzero(groups == index)[:room]), run)
        if len(self._kept) > 2 * MOST_CAUSES:
            there = {key for key, _ in self._causes.items()}
            self._kept = {cause: kept for cause, kept in self._kept.items() if cause in there}


def _cause(trace: CallTrace, fails: bool, run: Run) -> Cause:
    verdict = judge(trace, run.profile)
    outcome = trace.errno or ("NULL" if fails else trace.outcome)
    return Cause(verdict.verdict, request(trace), outcome, fails, verdict.why)
