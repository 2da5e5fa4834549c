"""A Snapshot as the metrics of the contract, for prometheus_client."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from inetprobe import __version__
from inetprobe.commands.serve.metrics.families import Values, exemplar, gauge, gauges, histograms, known, newest, total
from inetprobe.commands.serve.metrics.labels import OTHER, Labels, fixed
from inetprobe.commands.serve.stream import VERDICTS, StreamCounts
from inetprobe.stats.snapshot import OutcomeKey, Snapshot, SnapshotSource

INCOMPLETE_REASONS = ("outcome_missed", "thread_died", "no_state", "return_missed", "entry_missed", "truncated")
LOST_REASONS = ("ring_full", "rate_limited", "malformed")
MECHANISMS = ("kprobe", "fentry", "tracepoint", "model")

_CREATION = ("family", "socket_type", "protocol")


class SnapshotCollector(Collector):
    """The metrics of ``counts`` as of each scrape; ``told`` gives what the stream adds. Scrapes may come from any
    number of threads."""

    def __init__(
        self, counts: SnapshotSource, told: Callable[[], StreamCounts], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._counts = counts
        self._told = told
        self._clock = clock
        self._lock = threading.Lock()
        self._labels = Labels()

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client. Raises what ``counts.snapshot`` raises."""
        with self._lock:
            began = self._clock()
            # The stream first: a creation that it shows has been counted by the time the counts are read.
            told = self._told()
            families = _Scrape(self._counts.snapshot(), told, self._labels).families()
            took = self._clock() - began
        help_ = "Seconds it took to read the counts and to put this page together."
        return [*families, GaugeMetricFamily("inetprobe_scrape_duration_seconds", help_, value=took)]


class _Scrape:
    """One snapshot under way to its families; what falls under ``other`` is added up as labels are given."""

    def __init__(self, snapshot: Snapshot, told: StreamCounts, labels: Labels) -> None:
        self._snapshot = snapshot
        self._told = told
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
            self._overflow(),
            gauge(
                "inetprobe_up",
                "1 while sockets are counted, 0 while --max-rate keeps the probes off.",
                int(self._snapshot.up),
            ),
            InfoMetricFamily("inetprobe_build", "The inetprobe that made this page.", {"version": __version__}),
        ]

    def _creations(self) -> list[Metric]:
        created: Counter[Values] = Counter()
        failed: Counter[Values] = Counter()
        for outcome, count in self._snapshot.outcomes.items():
            request = self._request(outcome)
            created[request] += count
            self._tally(_CREATION, request, count)
            if outcome.errno != 0:
                errno = self._labels.errno(outcome.errno)
                failed[(*request, errno)] += count
                self._tally(("errno",), (errno,), count)
        exemplars = newest(
            ((*self._request(outcome), self._labels.errno(outcome.errno)), example)
            for outcome, example in self._told.failures.items()
        )
        incomplete = known(self._snapshot.incomplete, INCOMPLETE_REASONS)
        return [
            total(
                "inetprobe_socket_creations_total",
                "Calls of inet_create and inet6_create whose outcome was seen, whatever it was.",
                _CREATION,
                created,
            ),
            total(
                "inetprobe_socket_creation_failures_total",
                "Those of them that failed, by the errno they returned.",
                (*_CREATION, "errno"),
                failed,
                {labels: exemplar(example, 1) for labels, example in exemplars.items()},
            ),
            total(
                "inetprobe_socket_creations_incomplete_total",
                "Creations not seen whole: outcome_missed, thread_died and no_state are of no known outcome; of the "
                "others an inner call is missing.",
                ("reason",),
                incomplete,
            ),
            total(
                "inetprobe_socket_creation_entries_total",
                "Outermost entries of inet_create and inet6_create. Each is in creations, of no known outcome, "
                "filtered or in flight.",
                (),
                {(): self._snapshot.entries},
            ),
            total(
                "inetprobe_socket_creations_filtered_total",
                "Creations that the filters left out.",
                (),
                {(): self._snapshot.filtered},
            ),
            gauge("inetprobe_sockets_in_flight", "Creations begun and not yet ended.", self._snapshot.in_flight),
        ]

    def _durations(self) -> list[Metric]:
        calls = []
        for function, histogram in self._snapshot.call_durations.items():
            label = self._labels.function(function)
            self._tally(("function",), (label,), sum(histogram.counts))
            calls.append(((label,), histogram))
        creations = [(self._kind(*key), histogram) for key, histogram in self._snapshot.creation_durations.items()]
        exemplars = newest(
            ((self._kind(slot.family, slot.type), slot.bucket), example)
            for slot, example in self._told.durations.items()
        )
        bounds_ns = self._snapshot.bounds_ns
        return [
            histograms(
                "inetprobe_call_duration_seconds",
                "Durations of each traced kernel function's calls.",
                ("function",),
                bounds_ns,
                calls,
            ),
            histograms(
                "inetprobe_socket_creation_duration_seconds",
                "Durations of the outermost inet_create or inet6_create.",
                ("family", "socket_type"),
                bounds_ns,
                creations,
                exemplars,
            ),
        ]

    def _module_requests(self) -> list[Metric]:
        requests: Counter[Values] = Counter()
        failures: Counter[Values] = Counter()
        for name, asked in self._snapshot.module_requests.items():
            label = self._labels.module(name)
            requests[label,] += asked.requests
            failures[label,] += asked.failures
            self._tally(("module",), (label,), asked.requests)
        return [
            total("inetprobe_module_requests_total", "Calls of __request_module.", ("module",), requests),
            total(
                "inetprobe_module_request_failures_total",
                "Those of them that did not return 0.",
                ("module",),
                failures,
            ),
        ]

    def _stream(self) -> list[Metric]:
        verdicts = {(verdict,): self._told.verdicts.get(verdict, 0) for verdict in VERDICTS}
        lost = {**self._snapshot.lost, "malformed": self._told.malformed}
        return [
            total(
                "inetprobe_records_total",
                "Traces of the sampled stream only (failures, module requests, slow ones), by the model's verdict.",
                ("verdict",),
                verdicts,
            ),
            total(
                "inetprobe_records_lost_total",
                "Records that the sampled stream lost; their sockets are counted all the same.",
                ("reason",),
                known(lost, LOST_REASONS),
            ),
        ]

    def _probes(self) -> list[Metric]:
        hits: Counter[Values] = Counter()
        misses: Counter[Values] = Counter()
        attached: dict[Values, int] = {}
        for (function, side), probe in self._snapshot.probes.items():
            labels = self._labels.function(function), side
            if probe.hits is not None:
                hits[labels] += probe.hits
            misses[labels] += probe.misses
            how = (*labels, fixed(probe.mechanism, MECHANISMS))
            attached[how] = min(attached.get(how, 1), int(probe.attached))
        names = ("function", "probe")
        return [
            total("inetprobe_probe_hits_total", "Times the probe's program ran.", names, hits),
            total("inetprobe_probe_misses_total", "Times it is known not to have run.", names, misses),
            gauges("inetprobe_probe_attached", "1 if the probe is in place.", (*names, "mechanism"), attached),
        ]

    def _programs(self) -> list[Metric]:
        programs = self._snapshot.programs
        time_help = "Time the kernel spent in the BPF program; 0 unless kernel.bpf_stats_enabled is set."
        runs_help = "Runs of the BPF program; 0 unless kernel.bpf_stats_enabled is set."
        times = {(name,): cost.run_time_ns / 1e9 for name, cost in programs.items()}
        runs = {(name,): cost.runs for name, cost in programs.items()}
        return [
            total("inetprobe_bpf_run_time_seconds_total", time_help, ("program",), times),
            total("inetprobe_bpf_runs_total", runs_help, ("program",), runs),
        ]

    def _maps(self) -> list[Metric]:
        maps = self._snapshot.maps
        entries = {(name,): fill.entries for name, fill in maps.items()}
        capacity = {(name,): fill.capacity for name, fill in maps.items()}
        return [
            gauges("inetprobe_map_entries", "Entries of the BPF map that are in use.", ("map",), entries),
            gauges("inetprobe_map_capacity", "Entries the BPF map has room for.", ("map",), capacity),
        ]

    def _overflow(self) -> Metric:
        help_ = f'What is counted under "{OTHER}" since the label has no value to spare: sockets, requests or calls.'
        totals = {(label,): self._overflows[label] for label in Labels.CAPPED}
        return total("inetprobe_label_overflows_total", help_, ("label",), totals)

    def _request(self, outcome: OutcomeKey) -> Values:
        return (*self._kind(outcome.family, outcome.type), self._labels.protocol(outcome.protocol))

    def _kind(self, family: int, type_: int) -> tuple[str, str]:
        return self._labels.family(family), self._labels.socket_type(type_)

    def _tally(self, names: Values, labels: Values, count: int) -> None:
        for name, label in zip(names, labels, strict=True):
            if label == OTHER:
                self._overflows[name] += count
