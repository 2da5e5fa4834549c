"""A snapshot of the counts, which a Prometheus page is made of: kept by the kernel, or computed from a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from inetprobe.base.uapi import errno_name
from inetprobe.model.rules import Rule, Stage
from inetprobe.model.system_call import SeenSyscall, rule_after_create, rule_before_create
from inetprobe.record.layout import define

#: The address families from this one on are not told apart.
MANY = define("FAMILIES") - 1


class OutcomeKey(NamedTuple):
    """What a creation asked for and how it ended.

    ``type`` is without SOCK_CLOEXEC and SOCK_NONBLOCK; ``protocol`` is as the caller asked; ``errno`` is positive, 0
    for success. ``protocol`` and ``errno`` are None for creations that the kernel's table had no room to tell apart.
    """

    family: int
    type: int
    protocol: int | None
    errno: int | None


class RefusalKey(NamedTuple):
    """Where and how a system call failed outside a create. ``stage`` is None where the model has no rule for the errno,
    and ``errno`` where the kernel's table had no room; ``family`` is MANY for all from there on, and below 0.
    """

    stage: Stage | None
    errno: int | None
    family: int


def refusal(syscall: str | None, family: int, type_: int, errno: int, *, after: bool) -> RefusalKey:
    """The key of a system call that failed with ``errno`` before a create, or ``after`` one that had succeeded.

    ``syscall`` is None where a seccomp filter refused it.
    """
    if syscall is None:
        rule: Rule | None = Rule.SECCOMP
    else:
        seen = SeenSyscall(syscall, family, type_, 0, errno_name(errno), None)
        rule = rule_after_create(seen) if after else rule_before_create(seen)
    return RefusalKey(rule.stage if rule else None, errno, family if 0 <= family < MANY else MANY)


class Histogram(NamedTuple):
    """``counts[i]`` is the number of durations at most ``bounds_ns[i]`` and above the bound before it; the last count
    is of durations above every bound."""

    counts: tuple[int, ...]
    sum_ns: int


class ModuleRequests(NamedTuple):
    """Calls of __request_module for one module; ``failures`` is how many did not return 0."""

    requests: int
    failures: int


class Probe(NamedTuple):
    """One probe of a function. ``hits`` is the number of runs of its program, None if they are not counted; ``misses``
    the number of hits that are known not to have run it, None if those are not counted."""

    mechanism: str
    attached: bool
    hits: int | None
    misses: int | None


class ProgramCost(NamedTuple):
    """The kernel's statistics of a BPF program; both are 0 unless kernel.bpf_stats_enabled is set."""

    run_time_ns: int
    runs: int


class MapFill(NamedTuple):
    """The entries of a BPF map in use, and how many it has room for."""

    entries: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every count since the start. But for ``in_flight`` and ``maps``, none of them ever falls.

    A creation whose outcome was seen is in ``outcomes``. One whose outcome is unknown is in ``incomplete`` under
    ``outcome_missed``, ``thread_died`` or ``no_state``. So outcomes + these three + ``filtered`` + ``in_flight`` =
    entries. The other reasons in ``incomplete`` (``return_missed``, ``entry_missed``, ``truncated``) count creations of
    ``outcomes`` with an inner call that was not seen. ``refusals`` are system calls that failed outside a create.

    ``bounds_ns`` are the histograms' upper bounds, at most 14. ``call_durations`` are by the kernel function's name,
    ``creation_durations`` by family and type. ``module_requests`` are by the name that was asked for, None for the
    requests that the kernel's table had no room to tell apart. ``lost`` counts records of the stream by reason.
    ``probes`` are by function and side (``entry``, ``return``), ``programs`` by the BPF program's name. ``maps`` are by
    the name of the kernel's table, filled as on the CPU that uses the most; a table whose use is not known is left out.
    """

    bounds_ns: tuple[int, ...]
    entries: int = 0
    outcomes: Mapping[OutcomeKey, int] = field(default_factory=dict)
    refusals: Mapping[RefusalKey, int] = field(default_factory=dict)
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
    """A source of snapshots: the running kernel's counters, or a recording."""

    def snapshot(self) -> Snapshot:
        """The counts as of now. Called by one thread at a time."""
