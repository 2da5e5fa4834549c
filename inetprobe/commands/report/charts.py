"""The numbers that the page's script draws; tables of the page contain all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inetprobe.commands.report.gather import Gathered
from inetprobe.commands.report.in_short import STAGES, stage
from inetprobe.commands.report.numbers import took
from inetprobe.commands.report.timeline import Timeline
from inetprobe.record.layout import FUNCTIONS
from inetprobe.stats.distribution import Distribution
from inetprobe.stats.loglinear import Latency
from inetprobe.stats.top_keys import Other


@dataclass(frozen=True, slots=True)
class Row:
    """One distribution: of a function's calls, or of the self times of sockets in a stage, described by ``what`` and
    ``made_of``. ``before`` is the baseline's."""

    chart: str
    name: str
    what: str
    made_of: str
    latency: Latency
    times: Distribution
    before: Distribution | None

    @property
    def label(self) -> str:
        """The chart in words, for screen readers."""
        median, p99 = took(self.times.quantile(500)), took(self.times.quantile(990))
        text = f"{self.what or self.name}: {self.latency.calls:,}, half at most {median}, 99 % at most {p99}"
        if self.before is not None:
            text += f"; before, half at most {took(self.before.quantile(500))}"
        return f"{text}; the longest {took(self.latency.max_ns)}"


def functions(now: Gathered, before: Gathered | None) -> list[Row]:
    """Each function's calls, including the calls they made."""
    return _rows("function", _of_functions(now), {} if before is None else _of_functions(before))


def stages(now: Gathered, before: Gathered | None) -> list[Row]:
    """The self time that each socket spent in each function."""
    return _rows("stage", _of_stages(now), {} if before is None else _of_stages(before))


def data(now: Gathered, before: Gathered | None, rows: Sequence[Row]) -> dict[str, Any]:
    """All data to draw, by the id of its element in the page."""
    drawn: dict[str, Any] = {"timeline": _timeline(now.timeline)}
    if before is not None:
        drawn["timeline-before"] = _timeline(before.timeline)
    for row in rows:
        drawn[row.chart] = {
            "kind": "latency",
            "bins": _bins(row.times),
            "before": None if row.before is None else _bins(row.before),
            "marks": [["half", row.times.quantile(500)], ["99 %", row.times.quantile(990)]],
        }
    return drawn


_Found = dict[str, tuple[Latency, Distribution]]


def _of_functions(side: Gathered) -> _Found:
    latencies = side.stats.view().functions
    return {
        name: (latency, Distribution.of([side.stats.buckets(name)], [latency]))
        for name, latency in latencies.items()
        if not isinstance(name, Other)
    }


def _of_stages(side: Gathered) -> _Found:
    latencies = side.stages.latencies()
    return {
        name: (latency, Distribution.of([side.stages.buckets(name)], [latency])) for name, latency in latencies.items()
    }


def _rows(kind: str, found: _Found, before: _Found) -> list[Row]:
    rows = []
    for index, name in enumerate(_in_order(found)):
        title, made_of = (stage(name), STAGES.get(name, ("", ""))[1]) if kind == "stage" else ("", "")
        old = before[name][1] if name in before else None
        rows.append(Row(f"{kind}-{index}", name, title, made_of, *found[name], old))
    return rows


def _in_order(found: Iterable[str]) -> list[str]:
    """The functions that are always traced, in the order of the path; then those of --also."""
    known = ["inet_create", "inet6_create", "__request_module", *FUNCTIONS.values()]
    return sorted(found, key=lambda name: (known.index(name) if name in known else len(known), name))


def _bins(times: Distribution) -> list[list[float]]:
    return [[low, high, float(f"{part:.4g}")] for low, high, part in times.bins()]


def _timeline(timeline: Timeline) -> dict[str, Any]:
    bins = [
        [
            start / 1000,
            [counts.asked - counts.failed - counts.unseen, counts.failed, counts.unseen, counts.lost],
            counts.requests,
            counts.longest_ns,
        ]
        for start, counts in timeline.bins()
    ]
    return {"kind": "timeline", "width_ms": timeline.width_us / 1000, "bins": bins}
