"""Metric families for prometheus_client: a metric of the catalog, filled from a mapping of label values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    Timestamp,
)
from prometheus_client.utils import floatToGoString

from inetprobe.commands.serve.metrics.catalog import MetricSpec
from inetprobe.commands.serve.metrics.labels import fixed
from inetprobe.commands.serve.stream import TraceExample
from inetprobe.stats.snapshot import Histogram

K = TypeVar("K", bound=Hashable)
#: Label values, in the order of the metric's label names.
Values = tuple[str, ...]

#: As many of them as the metric has labels.
V = TypeVar("V", bound=Values)

_go_float: Callable[[float], str] = floatToGoString


def counters(spec: MetricSpec, values: Mapping[V, float], exemplars: Mapping[V, Exemplar] | None = None) -> Metric:
    """A counter for each tuple of label values."""
    family = CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value, exemplar=(exemplars or {}).get(labels))
    return family


def counter(spec: MetricSpec, value: float) -> Metric:
    """A counter without labels."""
    return counters(spec, {(): value})


def gauges(spec: MetricSpec, values: Mapping[V, float]) -> Metric:
    """A gauge for each tuple of label values."""
    family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def gauge(spec: MetricSpec, value: float) -> Metric:
    """A gauge without labels."""
    return gauges(spec, {(): value})


def info(spec: MetricSpec, *values: str) -> Metric:
    """A series that is always 1, with ``values`` as its labels."""
    return InfoMetricFamily(spec.name.removesuffix("_info"), spec.help, dict(zip(spec.labels, values, strict=True)))


def known(counts: Mapping[str, int], label_values: Collection[str]) -> dict[Values, int]:
    """Every one of ``label_values``, at 0 if there is no count; a recording by another version may have counts by
    other names, which are added up under OTHER."""
    summed: Counter[Values] = Counter({(value,): 0 for value in label_values})
    for name, count in counts.items():
        summed[fixed(name, label_values),] += count
    return summed


def histograms(
    spec: MetricSpec,
    bounds_ns: tuple[int, ...],
    values: Iterable[tuple[V, Histogram]],
    exemplars: Mapping[tuple[V, int], TraceExample] | None = None,
) -> Metric:
    """Histograms in seconds. Histograms with the same labels are added up. ``exemplars`` are by label values and
    bucket, counted from 0."""
    family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
    summed: dict[V, Histogram] = {}
    for labels, histogram in values:
        summed[labels] = plus(summed[labels], histogram) if labels in summed else histogram
    bounds = [*(_go_float(ns / 1e9) for ns in bounds_ns), "+Inf"]
    for labels, histogram in sorted(summed.items()):
        cumulative = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for bucket, (bound, count) in enumerate(zip(bounds, histogram.counts, strict=True)):
            cumulative += count
            example = (exemplars or {}).get((labels, bucket))
            shown = () if example is None else (exemplar(example, example.duration_ns / 1e9),)
            buckets.append((bound, cumulative, *shown))
        family.add_metric(labels, buckets, histogram.sum_ns / 1e9)
    return family


def plus(left: Histogram, right: Histogram) -> Histogram:
    """The sum of two histograms with the same bounds."""
    counts = tuple(a + b for a, b in zip(left.counts, right.counts, strict=True))
    return Histogram(counts, left.sum_ns + right.sum_ns)


def newest(examples: Iterable[tuple[K, TraceExample]]) -> dict[K, TraceExample]:
    """The newest example of each key: several requests may share a label value."""
    newest: dict[K, TraceExample] = {}
    for key, example in examples:
        if key not in newest or example.ended_ns > newest[key].ended_ns:
            newest[key] = example
    return newest


def exemplar(example: TraceExample, value: float) -> Exemplar:
    """The example as prometheus_client's exemplar of ``value``."""
    # A recording may claim times before the epoch, which the format's timestamps cannot express.
    after_epoch = example.ended_ns >= 0
    timestamp = Timestamp(*divmod(example.ended_ns, 10**9)) if after_epoch else None
    return Exemplar({"trace_id": example.trace_id}, value, timestamp)
