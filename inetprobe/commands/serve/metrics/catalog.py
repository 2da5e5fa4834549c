"""Every metric of the page, once: the collector, the tables of docs/metrics.md and the tests go by this catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from inetprobe.commands.serve.metrics.labels import OTHER
from inetprobe.model.judge import AS_PREDICTED

#: Label values that are known beforehand. All of them are on the page from the start, at 0.
VERDICTS = (AS_PREDICTED, "deviation", "incomplete", "unmodelled")
INCOMPLETE_REASONS = ("outcome_missed", "thread_died", "no_state", "return_missed", "entry_missed", "truncated")
LOST_REASONS = ("ring_full", "rate_limited", "malformed")
MECHANISMS = ("kprobe", "fentry", "tracepoint", "model")
SIDES = ("entry", "return")

_REQUEST = ("family", "socket_type", "protocol")
_IN_RECORDING = "in a recording"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric family.

    ``name`` is as on the page, with ``_total`` or ``_info``. ``labels`` are in the order of the label values;
    ``values`` has those of the labels whose values are a fixed set. ``unit`` is what a value counts, or ``seconds``.
    ``help`` is the page's HELP line, and docs/metrics.md's. ``absent`` says when there is no series; "" for never.
    """

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absent: str = ""


CREATIONS = MetricSpec(
    "inetprobe_socket_creations_total", "counter", "creations",
    "Outermost calls of inet_create and inet6_create whose outcome was seen, failed calls included.",
    _REQUEST, absent="before the first creation with these labels",
)  # fmt: skip
FAILURES = MetricSpec(
    "inetprobe_socket_creation_failures_total", "counter", "creations",
    "Socket creations that failed, by the errno that inet_create or inet6_create returned.",
    (*_REQUEST, "errno"), absent="before the first failure with these labels",
)  # fmt: skip
REFUSALS = MetricSpec(
    "inetprobe_socket_refusals_total", "counter", "system calls",
    "Calls of socket(2), socketpair(2) and io_uring's socket that failed outside inet_create and inet6_create, by "
    "where. Without --seccomp, of what seccomp filters refuse only what the kernel logs is counted: where they kill, "
    "or ask for it.",
    ("stage", "errno", "family"), absent="before the first refusal with these labels",
)  # fmt: skip
INCOMPLETE = MetricSpec(
    "inetprobe_socket_creations_incomplete_total", "counter", "creations",
    "Socket creations that were not seen whole. With outcome_missed, thread_died and no_state the outcome is unknown; "
    "with the other reasons it is known and an inner call is missing.",
    ("reason",), {"reason": INCOMPLETE_REASONS},
)  # fmt: skip
ENTRIES = MetricSpec(
    "inetprobe_socket_creation_entries_total", "counter", "entries",
    "Outermost entries of inet_create and inet6_create, counted when the probe is hit. Each one becomes a creation, "
    "has an unknown outcome, is filtered or is in flight.",
)  # fmt: skip
FILTERED = MetricSpec(
    "inetprobe_socket_creations_filtered_total", "counter", "creations",
    "Socket creations that the command's filters left out.",
)  # fmt: skip
IN_FLIGHT = MetricSpec(
    "inetprobe_sockets_in_flight", "gauge", "creations",
    "Socket creations that have begun and not ended, such as one that waits for modprobe.",
)  # fmt: skip
CREATION_DURATION = MetricSpec(
    "inetprobe_socket_creation_duration_seconds", "histogram", "seconds",
    "Duration of the outermost call of inet_create or inet6_create.",
    ("family", "socket_type"), absent="before the first creation with these labels",
)  # fmt: skip
CALL_DURATION = MetricSpec(
    "inetprobe_call_duration_seconds", "histogram", "seconds",
    "Duration of each call of a traced kernel function, nested calls included.",
    ("function",), absent="in a recording without a call of the function",
)  # fmt: skip
MODULE_REQUESTS = MetricSpec(
    "inetprobe_module_requests_total", "counter", "calls",
    "Calls of __request_module, by the name of the module asked for.",
    ("module",), absent="before the first request for the module",
)  # fmt: skip
MODULE_REQUEST_FAILURES = MetricSpec(
    "inetprobe_module_request_failures_total", "counter", "calls",
    "Calls of __request_module that did not return 0.",
    ("module",), absent="before the first request for the module",
)  # fmt: skip

RECORDS = MetricSpec(
    "inetprobe_records_total", "counter", "traces",
    "Traces of the sampled stream only (calls that failed, creations that asked for a module, were slow or were not "
    "seen whole), by the model's verdict. Not representative of all sockets.",
    ("verdict",), {"verdict": VERDICTS},
)  # fmt: skip
RECORDS_LOST = MetricSpec(
    "inetprobe_records_lost_total", "counter", "traces",
    "Traces that the sampled stream lost. Their sockets are counted all the same.",
    ("reason",), {"reason": LOST_REASONS},
)  # fmt: skip
LOG_LINES_LOST = MetricSpec(
    "inetprobe_log_lines_lost_total", "counter", "lines",
    "Lines that the reader of --log-failures was too slow for. Their traces are in the verdicts all the same.",
)  # fmt: skip

UP = MetricSpec(
    "inetprobe_up", "gauge", "0 or 1",
    "1 while sockets are counted, 0 while --max-rate keeps the probes off.",
)  # fmt: skip
PROBE_ATTACHED = MetricSpec(
    "inetprobe_probe_attached", "gauge", "0 or 1",
    "1 while the probe is attached, else 0.",
    ("function", "probe", "mechanism"), {"probe": SIDES, "mechanism": MECHANISMS},
    "for sched_process_exit, before its first miss",
)  # fmt: skip
PROBE_HITS = MetricSpec(
    "inetprobe_probe_hits_total", "counter", "hits",
    "Runs of the probe's BPF program.",
    ("function", "probe"), {"probe": SIDES}, "for sched_process_exit, whose hits are not counted",
)  # fmt: skip
PROBE_MISSES = MetricSpec(
    "inetprobe_probe_misses_total", "counter", "hits",
    "Hits of the probe that are known not to have run its BPF program.",
    ("function", "probe"), {"probe": SIDES},
    "for sched_process_exit, before its first miss; for kprobes where tracefs cannot be written, before Linux 6.7 "
    "(from then on skipped programs alone are known there); for fentry where the kernel does not count them",
)  # fmt: skip
BPF_RUN_TIME = MetricSpec(
    "inetprobe_bpf_run_time_seconds_total", "counter", "seconds",
    "Time the kernel spent in the BPF program; 0 unless kernel.bpf_stats_enabled is set.",
    ("program",), absent=_IN_RECORDING,
)  # fmt: skip
BPF_RUNS = MetricSpec(
    "inetprobe_bpf_runs_total", "counter", "runs",
    "Runs of the BPF program; 0 unless kernel.bpf_stats_enabled is set.",
    ("program",), absent=_IN_RECORDING,
)  # fmt: skip
MAP_ENTRIES = MetricSpec(
    "inetprobe_map_entries", "gauge", "entries",
    "Entries in use in the BPF map, on the CPU that uses the most.",
    ("map",), absent=_IN_RECORDING,
)  # fmt: skip
MAP_CAPACITY = MetricSpec(
    "inetprobe_map_capacity", "gauge", "entries",
    "Entries that the BPF map has room for on each CPU.",
    ("map",), absent=_IN_RECORDING,
)  # fmt: skip
LABEL_OVERFLOWS = MetricSpec(
    "inetprobe_label_overflows_total", "counter", "creations or calls",
    f'Socket creations, module requests or calls counted under "{OTHER}" because the label has no value left for them.',
    ("label",),
)  # fmt: skip
SCRAPE_DURATION = MetricSpec(
    "inetprobe_scrape_duration_seconds", "gauge", "seconds",
    "Time it took to read the counts and to make this page.",
)  # fmt: skip
BUILD = MetricSpec(
    "inetprobe_build_info", "info", "1",
    "The version of inetprobe that made this page.",
    ("version",),
)  # fmt: skip

#: The tables of docs/metrics.md, by the name of the page's section.
SECTIONS: Mapping[str, tuple[MetricSpec, ...]] = {
    "Sockets": (
        CREATIONS, FAILURES, REFUSALS, INCOMPLETE, ENTRIES, FILTERED, IN_FLIGHT, CREATION_DURATION, CALL_DURATION,
        MODULE_REQUESTS, MODULE_REQUEST_FAILURES,
    ),
    "The sampled stream": (RECORDS, RECORDS_LOST, LOG_LINES_LOST),
    "The tracer itself": (
        UP, PROBE_ATTACHED, PROBE_HITS, PROBE_MISSES, BPF_RUN_TIME, BPF_RUNS, MAP_ENTRIES, MAP_CAPACITY,
        LABEL_OVERFLOWS, SCRAPE_DURATION, BUILD,
    ),
}  # fmt: skip
METRICS = tuple(metric for section in SECTIONS.values() for metric in section)
