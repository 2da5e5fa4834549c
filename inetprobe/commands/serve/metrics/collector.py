"""A Snapshot as the metrics of the catalog, for prometheus_client."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from inetprobe import __version__
from inetprobe.commands.serve.metrics import catalog
from inetprobe.commands.serve.metrics.catalog import MetricSpec
from inetprobe.commands.serve.metrics.families import (
    Values,
    counter,
    counters,
    exemplar,
    gauge,
    gauges,
    histograms,
    info,
    known,
    newest,
)
from inetprobe.commands.serve.metrics.labels import OTHER, Labels, fixed
from inetprobe.commands.serve.stream import StreamCounts
from inetprobe.stats.snapshot import OutcomeKey, Snapshot, SnapshotSource


class SnapshotCollector(Collector):
    """The metrics of ``source`` as of each scrape; ``stream_counts`` returns what the stream adds to them.

    ``collect`` may be called by several threads at once.
    """

    def __init__(
        self,
        source: SnapshotSource,
        stream_counts: Callable[[], StreamCounts],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._source = source
        self._stream_counts = stream_counts
        self._clock = clock
        self._lock = threading.Lock()
        self._labels = Labels()

    def collect(self) -> Iterable[Metric]:
        """Every metric family, for prometheus_client. Raises what the source's ``snapshot`` raises."""
        with self._lock:
            began = self._clock()
            # The stream first: a creation that it shows has been counted by the time the counts are read.
            stream_counts = self._stream_counts()
            families = _Scrape(self._source.snapshot(), stream_counts, self._labels).families()
            elapsed = self._clock() - began
        return [*families, gauge(catalog.SCRAPE_DURATION, elapsed)]


class _Scrape:
    """Turns one snapshot into metric families; counts under OTHER are added up as label values are given."""

    def __init__(self, snapshot: Snapshot, stream_counts: StreamCounts, labels: Labels) -> None:
        self._snapshot = snapshot
        self._stream_counts = stream_counts
        self._labels = labels
        self._overflows: Counter[str] = Counter()

    def families(self) -> list[Metric]:
        """Every family but the scrape's own duration, in the order of the page."""
        return [
            *self._creations(),
            *self._durations(),
            *self._module_requests(),
            *self._stream(),
            *self._probes(),
            *self._programs(),
            *self._maps(),
            # After the families above, which count what falls under OTHER.
            counters(catalog.LABEL_OVERFLOWS, {(label,): self._overflows[label] for label in Labels.CAPPED}),
            gauge(catalog.UP, int(self._snapshot.up)),
            info(catalog.BUILD, __version__),
        ]

    def _creations(self) -> list[Metric]:
        created: Counter[Values] = Counter()
        failed: Counter[Values] = Counter()
        for outcome, count in self._snapshot.outcomes.items():
            request = self._request(outcome)
            created[request] += count
            self._tally(catalog.CREATIONS, request, count)
            if outcome.errno != 0:
                errno = self._labels.errno(outcome.errno)
                failed[(*request, errno)] += count
                if errno == OTHER:
                    self._overflows["errno"] += count
        exemplars = newest(
            ((*self._request(outcome), self._labels.errno(outcome.errno)), example)
            for outcome, example in self._stream_counts.failures.items()
        )
        refused: Counter[Values] = Counter()
        for refusal, count in self._snapshot.refusals.items():
            labels = (refusal.stage or OTHER, self._labels.errno(refusal.errno), self._labels.family(refusal.family))
            refused[labels] += count
            for label, value in zip(("errno", "family"), labels[1:], strict=True):
                self._overflows[label] += count * (value == OTHER)
        return [
            counters(catalog.CREATIONS, created),
            counters(catalog.FAILURES, failed, {labels: exemplar(example, 1) for labels, example in exemplars.items()}),
            counters(catalog.REFUSALS, refused),
            counters(catalog.INCOMPLETE, known(self._snapshot.incomplete, catalog.INCOMPLETE_REASONS)),
            counter(catalog.ENTRIES, self._snapshot.entries),
            counter(catalog.FILTERED, self._snapshot.filtered),
            gauge(catalog.IN_FLIGHT, self._snapshot.in_flight),
        ]

    def _durations(self) -> list[Metric]:
        calls = []
        for function, histogram in self._snapshot.call_durations.items():
            labels = (self._labels.function(function),)
            self._tally(catalog.CALL_DURATION, labels, sum(histogram.counts))
            calls.append((labels, histogram))
        creations = [
            (self._family_and_type(*key), histogram) for key, histogram in self._snapshot.creation_durations.items()
        ]
        exemplars = newest(
            ((self._family_and_type(key.family, key.type), key.bucket), example)
            for key, example in self._stream_counts.durations.items()
        )
        bounds_ns = self._snapshot.bounds_ns
        return [
            histograms(catalog.CALL_DURATION, bounds_ns, calls),
            histograms(catalog.CREATION_DURATION, bounds_ns, creations, exemplars),
        ]

    def _module_requests(self) -> list[Metric]:
        requests: Counter[Values] = Counter()
        failures: Counter[Values] = Counter()
        for name, counts in self._snapshot.module_requests.items():
            labels = (self._labels.module(name),)
            requests[labels] += counts.requests
            failures[labels] += counts.failures
            self._tally(catalog.MODULE_REQUESTS, labels, counts.requests)
        return [counters(catalog.MODULE_REQUESTS, requests), counters(catalog.MODULE_REQUEST_FAILURES, failures)]

    def _stream(self) -> list[Metric]:
        verdicts = {(verdict,): self._stream_counts.verdicts.get(verdict, 0) for verdict in catalog.VERDICTS}
        lost = {**self._snapshot.lost, "malformed": self._stream_counts.malformed}
        return [
            counters(catalog.RECORDS, verdicts),
            counters(catalog.RECORDS_LOST, known(lost, catalog.LOST_REASONS)),
            counter(catalog.LOG_LINES_LOST, self._stream_counts.log_lines_lost),
        ]

    def _probes(self) -> list[Metric]:
        hits: Counter[Values] = Counter()
        misses: Counter[Values] = Counter()
        attached: dict[Values, int] = {}
        for (function, side), probe in self._snapshot.probes.items():
            labels = self._labels.function(function), side
            if probe.hits is not None:
                hits[labels] += probe.hits
            if probe.misses is not None:
                misses[labels] += probe.misses
            with_mechanism = (*labels, fixed(probe.mechanism, catalog.MECHANISMS))
            attached[with_mechanism] = min(attached.get(with_mechanism, 1), int(probe.attached))
        return [
            counters(catalog.PROBE_HITS, hits),
            counters(catalog.PROBE_MISSES, misses),
            gauges(catalog.PROBE_ATTACHED, attached),
        ]

    def _programs(self) -> list[Metric]:
        programs = self._snapshot.programs
        return [
            counters(catalog.BPF_RUN_TIME, {(name,): cost.run_time_ns / 1e9 for name, cost in programs.items()}),
            counters(catalog.BPF_RUNS, {(name,): cost.runs for name, cost in programs.items()}),
        ]

    def _maps(self) -> list[Metric]:
        maps = self._snapshot.maps
        return [
            gauges(catalog.MAP_ENTRIES, {(name,): fill.entries for name, fill in maps.items()}),
            gauges(catalog.MAP_CAPACITY, {(name,): fill.capacity for name, fill in maps.items()}),
        ]

    def _request(self, outcome: OutcomeKey) -> Values:
        return (*self._family_and_type(outcome.family, outcome.type), self._labels.protocol(outcome.protocol))

    def _family_and_type(self, family: int, type_: int) -> tuple[str, str]:
        return self._labels.family(family), self._labels.socket_type(type_)

    def _tally(self, spec: MetricSpec, values: Values, count: int) -> None:
        for label, value in zip(spec.labels, values, strict=True):
            if value == OTHER:
                self._overflows[label] += count
