"""The shapes of metric families, filled from dictionaries by label values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    Timestamp,
)
from prometheus_client.utils import floatToGoString

from inetprobe.commands.serve.metrics.labels import fixed
from inetprobe.commands.serve.stream import TraceExample
from inetprobe.stats.snapshot import Histogram

K = TypeVar("K", bound=Hashable)
#: Label values, in the order of the metric's label names.
Values = tuple[str, ...]

#: As many of them as the metric has labels.
V = TypeVar("V", bound=Values)

_go_float: Callable[[float], str] = floatToGoString


def total(
    name: str,
    help_: str,
    names: Values,
    values: Mapping[V, float],
    exemplars: Mapping[V, Exemplar] | None = None,
) -> Metric:
    """A counter for each set of label values."""
    family = CounterMetricFamily(name, help_, labels=names)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value, exemplar=(exemplars or {}).get(labels))
    return family


def gauge(name: str, help_: str, value: float) -> Metric:
    """A gauge without labels."""
    return gauges(name, help_, (), {(): value})


def gauges(name: str, help_: str, names: Values, values: Mapping[V, float]) -> Metric:
    """A gauge for each set of label values."""
    family = GaugeMetricFamily(name, help_, labels=names)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def known(counts: Mapping[str, int], reasons: Collection[str]) -> dict[Values, int]:
    """Every known reason, at 0 too; what another version of a recording may name counts under OTHER."""
    summed: Counter[Values] = Counter({(reason,): 0 for reason in reasons})
    for reason, count in counts.items():
        summed[fixed(reason, reasons),] += count
    return summed


def histograms(
    name: str,
    help_: str,
    names: Values,
    bounds_ns: tuple[int, ...],
    values: Iterable[tuple[V, Histogram]],
    exemplars: Mapping[tuple[V, int], TraceExample] | None = None,
) -> Metric:
    """Histograms in seconds, those with the same labels added up; ``exemplars`` are by labels and bucket, from 0."""
    family = HistogramMetricFamily(name, help_, labels=names)
    summed: dict[V, Histogram] = {}
    for labels, histogram in values:
        summed[labels] = plus(summed[labels], histogram) if labels in summed else histogram
    bounds = [*(_go_float(ns / 1e9) for ns in bounds_ns), "+Inf"]
    for labels, histogram in sorted(summed.items()):
        so_far = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for place, (bound, count) in enumerate(zip(bounds, histogram.counts, strict=True)):
            so_far += count
            example = (exemplars or {}).get((labels, place))
            shown = () if example is None else (exemplar(example, example.duration_ns / 1e9),)
            buckets.append((bound, so_far, *shown))
        family.add_metric(labels, buckets, histogram.sum_ns / 1e9)
    return family


def plus(one: Histogram, other: Histogram) -> Histogram:
    """Both as one."""
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.sum_ns + other.sum_ns)


def newest(examples: Iterable[tuple[K, TraceExample]]) -> dict[K, TraceExample]:
    """One for each key: several of the stream's may have come under one label."""
    newest: dict[K, TraceExample] = {}
    for key, example in examples:
        if key not in newest or example.ended_ns > newest[key].ended_ns:
            newest[key] = example
    return newest


def exemplar(example: TraceExample, value: float) -> Exemplar:
    """As prometheus_client has it."""
    # A recording may claim times before the epoch, which the format's timestamps cannot tell.
    known = example.ended_ns >= 0
    when = Timestamp(*divmod(example.ended_ns, 10**9)) if known else None
    return Exemplar({"trace_id": example.trace_id}, value, when)
