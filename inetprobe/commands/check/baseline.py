"""Two recordings compared: which durations and which shares changed by more than noise, and by how much.

A change is reported if it is both unlikely to be chance (p < 0.01 after Holm's correction for all tests of the two
recordings) and large (the median or the share differs by more than a tenth): with a million sockets almost any
difference is unlikely to be chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from inetprobe.base import words
from inetprobe.base.uapi import errno_name
from inetprobe.commands.check.result import Case, Status
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import FUNCTIONS
from inetprobe.record.measures import Durations, durations, errnos, failed, module_requests, seen
from inetprobe.record.run import Run
from inetprobe.stats.sample import Reservoir
from inetprobe.stats.significance import MANN_WHITNEY, holm, mann_whitney, proportions

SIGNIFICANCE = 0.01
LEAST_CHANGE = 1.1
#: Fewer calls say too little about a distribution, and the test's normal approximation is poor.
LEAST_CALLS = 20
_NAMED = 3


@dataclass(slots=True)
class Sample:
    """A sink that samples one recording for the comparison: durations by function and counts of outcomes."""

    durations: dict[str, Reservoir] = field(default_factory=lambda: {name: Reservoir() for name in FUNCTIONS.values()})
    ended: int = 0
    failures: int = 0
    requesting: int = 0
    errnos: Counter[int] = field(default_factory=Counter)

    def batch(self, batch: Batch, run: Run) -> None:
        """Adds a batch to the sample."""
        records = batch.records
        for number, name in run.functions.items():
            if name in self.durations:
                self.durations[name].add(durations(records, number))
        ended = seen(records)
        self.ended += int(np.count_nonzero(ended))
        self.failures += int(np.count_nonzero(failed(records)))
        self.requesting += int(np.count_nonzero(ended & (module_requests(records) > 0)))
        values, counts = np.unique(errnos(records), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value > 0:
                self.errnos[value] += count

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""


class Baseline(NamedTuple):
    """The older recording, read."""

    run: Run
    sample: Sample


class _Comparison(NamedTuple):
    """One test. ``now`` and ``before`` are medians in nanoseconds, or shares; ``towards`` is 1 if the test finds the
    values above those of the baseline, -1 if below."""

    name: str
    rate: bool
    test: str
    now: float
    before: float
    towards: int
    p: float
    basis: str
    facts: dict[str, Any]

    @property
    def ratio(self) -> float:
        if self.now == self.before:
            return 1.0
        return self.now / self.before if self.before else float("inf")


def compare(now: Sample, runs: Sequence[Run], baseline: Baseline) -> list[Case]:
    """A case for the conditions of the recordings, and one for each function and each share; ``runs`` are all runs in
    the sample ``now``."""
    before = baseline.sample
    comparisons: list[_Comparison] = []
    cases = [_conditions(runs, baseline)]
    for name, sample in now.durations.items():
        old = before.durations[name]
        if min(sample.count, old.count) >= LEAST_CALLS:
            comparisons.append(_latency(name, sample, old))
        elif max(sample.count, old.count):
            calls = f"{old.count:,} calls before, {sample.count:,} now"
            cases.append(_skipped(name, f"{calls}: a comparison needs {LEAST_CALLS} of each"))
    if now.ended and before.ended:
        comparisons += _rates(now, before)
    else:
        cases.append(_skipped("failures", f"{before.ended:,} sockets before, {now.ended:,} now"))
    for comparison, p in zip(comparisons, holm([comparison.p for comparison in comparisons]), strict=True):
        cases.append(_case(comparison, p))
    return cases


def _latency(name: str, now: Reservoir, before: Reservoir) -> _Comparison:
    ranks = mann_whitney(now.values, before.values)
    sampled = [sample for sample in (now, before) if sample.sampled]
    basis = f"{before.count:,} calls before, {now.count:,} now"
    if sampled:
        basis += f"; a random sample of {max(len(sample.values) for sample in sampled):,} where there were more"
    facts = {
        "calls": now.count,
        "calls_before": before.count,
        "sampled": bool(sampled),
        "superiority": round(ranks.superiority, 6),
        "cliffs_delta": round(2 * ranks.superiority - 1, 6),
    }
    towards = 1 if ranks.superiority > 0.5 else -1
    medians = _median(now.values), _median(before.values)
    return _Comparison(name, False, MANN_WHITNEY, *medians, towards, ranks.p, basis, facts)


def _median(values: Durations) -> float:
    return float(np.median(values.astype(float)))  # floats: the mean of two values near 2^64 overflows an integer


def _rates(now: Sample, before: Sample) -> list[_Comparison]:
    counts = [
        ("failures", now.failures, before.failures),
        ("module requests", now.requesting, before.requesting),
        *(
            (errno_name(errno), now.errnos[errno], before.errnos[errno])
            for errno in sorted({*now.errnos, *before.errnos})
        ),
    ]
    rates = []
    for name, hits, other in counts:
        tested = proportions(hits, now.ended, other, before.ended)
        shares = hits / now.ended, other / before.ended
        basis = f"{other:,} of {before.ended:,} sockets before, {hits:,} of {now.ended:,} now"
        facts = {"sockets": now.ended, "sockets_before": before.ended, "count": hits, "count_before": other}
        towards = 1 if shares[0] > shares[1] else -1
        rates.append(_Comparison(name, True, tested.test, *shares, towards, tested.p, basis, facts))
    return rates


def _case(comparison: _Comparison, p: float) -> Case:
    change = None
    if p < SIGNIFICANCE and comparison.towards > 0 and comparison.ratio > LEAST_CHANGE:
        change = "more" if comparison.rate else "slower"
    elif p < SIGNIFICANCE and comparison.towards < 0 and comparison.ratio < 1 / LEAST_CHANGE:
        change = "fewer" if comparison.rate else "faster"
    status: Status = "failed" if change in ("more", "slower") else "passed"
    before, now = (
        _share(value) if comparison.rate else words.duration(round(value))
        for value in (comparison.before, comparison.now)
    )
    times = "" if comparison.ratio == float("inf") else f" (×{comparison.ratio:.3g})"
    moved = f"{before} → {now}{times}" if comparison.before or comparison.now else "none, as before"
    message = f"{change or 'no change beyond noise'}: {'' if comparison.rate else 'median '}{moved}"
    effect = "" if comparison.rate else f", P(now > before) = {comparison.facts['superiority']:.2f}"
    details = (f"{comparison.test}, {_chance(p)} (Holm){effect}", comparison.basis)
    facts = {
        "test": comparison.test,
        "p": _digits(comparison.p),
        "p_holm": _digits(p),
        "change": change,
        "value": comparison.now,
        "value_before": comparison.before,
        "unit": "share" if comparison.rate else "ns",
        "ratio": None if comparison.ratio == float("inf") else round(comparison.ratio, 6),
        **comparison.facts,
    }
    return Case("baseline", comparison.name, status, message, details, facts)


def _skipped(name: str, message: str) -> Case:
    return Case("baseline", name, "skipped", message)


def _conditions(runs: Sequence[Run], baseline: Baseline) -> Case:
    """Other differences between the runs and the baseline's, which could explain a change."""
    other = baseline.run
    conditions: dict[str, Callable[[Run], Any]] = {
        "machines": lambda run: run.machine_id,
        "mechanisms of the probes": lambda run: run.mechanisms,
        "filters when recorded": lambda run: run.filters,
        "functions traced": lambda run: sorted(run.functions.values()),
    }
    differ = []
    for name, of in conditions.items():
        count = sum(of(run) != of(other) for run in runs)
        if count:
            differ.append(f"different {name}" + (f" in {count} of {len(runs)} recordings" if count < len(runs) else ""))
    now = list(dict.fromkeys(run.kernel for run in runs))
    same = "both" if len(runs) == 1 else "all"
    kernels = f"{same} {other.kernel}" if now == [other.kernel] else f"kernel {other.kernel} before, {_few(now)} now"
    if differ:
        return Case("baseline", "conditions", "warned", f"{kernels}; {', '.join(differ)}")
    return Case("baseline", "conditions", "passed", kernels)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


def _digits(value: float) -> float:
    """Six digits: the others depend on the order in which a machine adds."""
    return float(f"{value:.6g}")


def _chance(p: float) -> str:
    return f"p {p:.2g}" if p > 1e-300 else "p < 1e-300"
