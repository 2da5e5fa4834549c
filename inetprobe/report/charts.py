"""The numbers that the page's script draws; every one of them stands in a table of the page, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inetprobe.loglinear import Latency
from inetprobe.record import FUNCTIONS
from inetprobe.report.distribution import Distribution
from inetprobe.report.gather import Gathered
from inetprobe.report.timeline import Timeline
from inetprobe.report.units import took
from inetprobe.report.words import STAGES, stage
from inetprobe.tables import Other


@dataclass(frozen=True, slots=True)
class Row:
    """One distribution: of a function's calls, or of the sockets in a stage, which then is ``what`` and ``made_of``.
    ``before`` is the baseline's."""

    chart: str
    name: str
    what: str
    made_of: str
    latency: Latency
    times: Distribution
    before: Distribution | None

    def quantile(self, per_mille: int) -> int:
        """Nanoseconds, within the exact least and greatest."""
        return min(max(self.times.quantile(per_mille), self.latency.min_ns), self.latency.max_ns)

    @property
    def label(self) -> str:
        """The chart in words, for those who do not see it."""
        half, most = took(self.quantile(500)), took(self.quantile(990))
        said = f"{self.what or self.name}: {self.latency.calls:,}, half at most {half}, 99 % at most {most}"
        if self.before is not None:
            said += f"; before, half at most {took(self.before.quantile(500))}"
        return f"{said}; the longest {took(self.latency.max_ns)}"


def functions(now: Gathered, before: Gathered | None) -> list[Row]:
    """Each function's calls, with all that they called."""
    latencies = {key: one for key, one in now.stats.view().functions.items() if not isinstance(key, Other)}
    other = {} if before is None else before.stats.view().functions

    def old(name: str) -> Distribution | None:
        return Distribution.of(before.stats.buckets(name)) if before is not None and name in other else None

    return [
        Row(f"function-{place}", name, "", "", latencies[name], Distribution.of(now.stats.buckets(name)), old(name))
        for place, name in enumerate(_in_order(latencies))
    ]


def stages(now: Gathered, before: Gathered | None) -> list[Row]:
    """What each socket spent in each function alone."""
    latencies = now.stages.latencies()
    other = {} if before is None else before.stages.latencies()

    def old(name: str) -> Distribution | None:
        return Distribution.of(before.stages.buckets(name)) if before is not None and name in other else None

    rows = []
    for place, name in enumerate(_in_order(latencies)):
        made_of = STAGES[name][1] if name in STAGES else ""
        times = Distribution.of(now.stages.buckets(name))
        rows.append(Row(f"stage-{place}", name, stage(name), made_of, latencies[name], times, old(name)))
    return rows


def data(now: Gathered, before: Gathered | None, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything there is to draw, by the id of its place in the page."""
    drawn: dict[str, Any] = {"timeline": _timeline(now.timeline)}
    if before is not None:
        drawn["timeline-before"] = _timeline(before.timeline)
    for row in rows:
        drawn[row.chart] = {
            "kind": "latency",
            "bins": _bins(row.times),
            "before": None if row.before is None else _bins(row.before),
            "marks": [["half", row.quantile(500)], ["99 %", row.quantile(990)]],
        }
    return drawn


def _in_order(found: Iterable[str]) -> list[str]:
    """The functions always traced as the path comes to them, then what --also added."""
    known = ["inet_create", "inet6_create", "__request_module", *FUNCTIONS.values()]
    return sorted(found, key=lambda name: (known.index(name) if name in known else len(known), name))


def _bins(times: Distribution) -> list[list[float]]:
    return [[low, high, float(f"{part:.4g}")] for low, high, part in times.bins()]


def _timeline(timeline: Timeline) -> dict[str, Any]:
    bins = [
        [start / 1000, one.created - one.failed, one.failed, one.lost, one.requests, one.longest_ns]
        for start, one in timeline.bins()
    ]
    return {"kind": "timeline", "width_ms": timeline.width_us / 1000, "bins": bins}
