"""The tally of verdicts: every trace of a recording judged, each shape of trace once a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.verdict import judge

#: Distinct (request, errno, reason) kept for a verdict: memory must not grow with what a recording makes up.
EXAMPLES = 5


@dataclass(slots=True)
class Example:
    """The first trace of those with this ``request``, ``errno`` and ``reason``, and how many there are."""

    id: str
    request: str
    errno: str | None
    reason: str
    count: int


@dataclass(slots=True)
class Judged:
    """A sink that counts. ``verdicts`` is by verdict, ``rules`` by what decided of those that are ``ok``; ``examples``
    has a few of each other verdict. ``lost`` is by reason, as far as the batches told."""

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
        if verdict.verdict == "ok":
            assert verdict.rule is not None  # what is ok went some way that the model knows
            self.rules[verdict.rule] += count
            return
        kept = self.examples.setdefault(verdict.verdict, {})
        key = request(trace), trace.errno, verdict.reason
        if key in kept:
            kept[key].count += count
        elif len(kept) < EXAMPLES:
            kept[key] = Example(trace.id, *key, count)
