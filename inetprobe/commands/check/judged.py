"""Counts of verdicts: all traces of a recording are judged, each shape of trace once per batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from inetprobe.model.judge import AS_PREDICTED
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.verdict import judge

#: Distinct (request, errno, reason) kept per verdict: a crafted recording must not fill memory.
EXAMPLES = 5


@dataclass(slots=True)
class Example:
    """The first trace with this ``request``, ``errno`` and ``reason``, and the number of them."""

    id: str
    request: str
    errno: str | None
    reason: str
    count: int


@dataclass(slots=True)
class Judged:
    """A sink that counts sockets by verdict, and those that went as predicted by the rule that decided.

    ``examples`` has a few of each other verdict. ``lost`` is by reason, as far as the batches report losses.
    """

    sockets: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    examples: dict[str, dict[tuple[str, str | None, str], Example]] = field(default_factory=dict)

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Judges a batch, each shape once."""
        for loss in batch.losses:
            self.lost[loss.reason] += loss.count
        self.sockets += len(batch)
        shapes = batch.shapes
        for trace, count in zip(call_traces(batch.distinct, run), shapes.counts.tolist(), strict=True):
            self._count(trace, run, count)

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def _count(self, trace: CallTrace, run: Run, count: int) -> None:
        verdict = judge(trace, run.profile)
        self.verdicts[verdict.verdict] += count
        if verdict.verdict == AS_PREDICTED:
            assert verdict.rule is not None  # a trace as predicted follows a path of the model, which ends with a rule
            self.rules[verdict.rule] += count
            return
        kept = self.examples.setdefault(verdict.verdict, {})
        key = request(trace), trace.errno, verdict.why.reason
        if key in kept:
            kept[key].count += count
        elif len(kept) < EXAMPLES:
            kept[key] = Example(trace.id, *key, count)
