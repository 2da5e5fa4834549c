"""The counts of a moment: what a Prometheus page is made of, whether the kernel kept them or a recording gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class OutcomeKey(NamedTuple):
    """What a creation was for and how it ended.

    ``type`` is without SOCK_CLOEXEC and SOCK_NONBLOCK; ``protocol`` is as the caller asked, None for the rest beyond
    what the kernel's table holds; ``errno`` is positive, 0 for success, None for the rest likewise.
    """

    family: int
    type: int
    protocol: int | None
    errno: int | None


class Histogram(NamedTuple):
    """``counts[i]`` durations at most ``bounds_ns[i]`` and above the bound before; the last are beyond them all."""

    counts: tuple[int, ...]
    sum_ns: int


class ModuleRequests(NamedTuple):
    """Calls of __request_module for one module; ``failures`` are those that did not return 0."""

    requests: int
    failures: int


class Probe(NamedTuple):
    """One probe of a function. ``hits`` counts what its program saw, ``misses`` what it is known not to have seen;
    ``hits`` is None where nobody counts them."""

    mechanism: str
    attached: bool
    hits: int | None
    misses: int


class ProgramCost(NamedTuple):
    """What the kernel keeps of a BPF program where kernel.bpf_stats_enabled is set; both 0 where it is not."""

    run_time_ns: int
    runs: int


class MapFill(NamedTuple):
    """Entries of a BPF map that are in use, and how many it has room for."""

    entries: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every count since the start, none of which ever falls.

    A creation whose outcome was seen is in ``outcomes``, another in ``incomplete`` under ``outcome_missed``,
    ``thread_died`` or ``no_state``; so outcomes + those + ``filtered`` + ``in_flight`` = entries. ``incomplete`` has
    also those of ``outcomes`` of which an inner call was not seen (``return_missed``, ``entry_missed``, ``truncated``).

    ``bounds_ns`` are the histograms' upper bounds, at most 14. ``call_durations`` are by the kernel function's name,
    ``creation_durations`` by family and type. ``module_requests`` are by the name that was asked for, None for the rest
    beyond what the kernel's table holds. ``lost`` are records of the stream by reason. ``probes`` are by function and
    side (``entry``, ``return``); ``programs`` are by the BPF program's name. ``maps`` are by the name of the kernel's
    table, its use on the CPU that uses most of it; one of which that is not known is left out.
    """

    bounds_ns: tuple[int, ...]
    entries: int = 0
    outcomes: Mapping[OutcomeKey, int] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)
    filtered: int = 0
    in_flight: int = 0
    call_durations: Mapping[str, Histogram] = field(default_factory=dict)
    creation_durations: Mapping[tuple[int, int], Histogram] = field(default_factory=dict)
    module_requests: Mapping[str | None, ModuleRequests] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[tuple[str, str], Probe] = field(default_factory=dict)
    programs: Mapping[str, ProgramCost] = field(default_factory=dict)
    maps: Mapping[str, MapFill] = field(default_factory=dict)
    up: bool = True


class SnapshotSource(Protocol):
    """Where snapshots come from: the running kernel's counters, or a recording."""

    def snapshot(self) -> Snapshot:
        """The counts now. Called by one thread at a time."""
