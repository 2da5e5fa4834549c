"""Records → the counts that the kernel would have kept of the same sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.buckets import DEFAULT_BOUNDS_NS
from inetprobe.check.measure import MAX_ERRNO, seen
from inetprobe.record import (
    CALL_NULL,
    CALL_RETURNED,
    FUNCTION_REQUEST_MODULE,
    RECORD_BARE,
    Batch,
    Records,
    incomplete_reason,
)
from inetprobe.run import Accounting, Run
from inetprobe.snapshot import Histogram, ModuleRequests, Outcome, Probe, Snapshot
from inetprobe.trace import module_name

# A recording may make up as many requests as it has sockets: past these, as in the kernel's tables, they are one.
_MOST_OUTCOMES = 1 << 16
_MOST_REQUESTS = 1 << 12
_REST = -1
# Losses of the recorded run that say no more of a socket than that it was begun.
_UNSEEN = {"thread_died": "thread_died", "no_state": "no_state"}


class Aggregate:
    """A sink that counts, and gives the Snapshot of what it was fed so far.

    Calls beyond those a record holds, of interrupts and of sockets without a record are not in the durations. A lost
    record's outcome cannot be known: it counts as ``outcome_missed``. Socks that no create made are not creations: of
    those only the calls are counted.
    """

    def __init__(self, bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS) -> None:
        self.sockets = 0
        self._bounds_ns = bounds_ns
        self._bare = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._incomplete: Counter[str] = Counter()
        self._modules: Counter[str | None] = Counter()
        self._module_failures: Counter[str | None] = Counter()
        self._calls = _Histograms(bounds_ns, _MOST_REQUESTS)
        self._creations = _Histograms(bounds_ns, _MOST_REQUESTS)
        self._entered: Counter[int] = Counter()
        self._returned: Counter[int] = Counter()
        self._run: Run | None = None
        self._accounting: Accounting | None = None

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink."""
        self._run = run
        self.sockets += len(batch)
        bare = (batch.records["flags"] & RECORD_BARE) != 0
        self._bare += int(np.count_nonzero(bare))
        if len(batch):
            self._count_outcomes(batch.records[~bare])
            self._count_calls(batch.records)

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""
        self._accounting = accounting

    def snapshot(self) -> Snapshot:
        """See Counts."""
        known = self._accounting or Accounting(entries=self.sockets)
        incomplete = self._incomplete.copy()
        for reason, count in known.lost.items():
            incomplete[_UNSEEN.get(reason, "outcome_missed")] += count
        run = self._run
        return Snapshot(
            bounds_ns=self._bounds_ns,
            entries=known.entries - self._bare,
            outcomes=dict(self._outcomes),
            incomplete=dict(incomplete),
            filtered=known.filtered,
            in_flight=known.in_flight,
            call_durations={} if run is None else self._call_durations(run),
            creation_durations=self._creation_durations(),
            module_requests={
                name: ModuleRequests(count, self._module_failures[name]) for name, count in self._modules.items()
            },
            lost={reason: count for reason, count in known.lost.items() if reason in ("ring_full", "rate_limited")},
            probes={} if run is None else self._probes(run, known),
        )

    def _count_outcomes(self, records: Records) -> None:
        known = seen(records)
        self._incomplete["outcome_missed"] += int(np.count_nonzero(~known))
        records = records[known]
        for flags, count in Counter(records["flags"].tolist()).items():
            reason = incomplete_reason(flags)
            if reason is not None:
                self._incomplete[reason] += count
        columns = [records[name].tolist() for name in ("family", "type", "protocol")]
        for (family, type_, protocol, errno), count in Counter(zip(*columns, errnos(records), strict=True)).items():
            outcome = Outcome(family, type_, protocol, errno)
            if outcome not in self._outcomes and len(self._outcomes) >= _MOST_OUTCOMES:
                outcome = Outcome(_REST, _REST, None, 0 if errno == 0 else None)
            self._outcomes[outcome] += count
        keys = records["family"].astype(np.int64) << 16 | records["type"].astype(np.int64) & 0xFFFF
        self._creations.add(keys, records["calls"]["duration_ns"][:, 0])

    def _count_calls(self, records: Records) -> None:
        used = np.arange(records["calls"].shape[1]) < records["ncalls"][:, None]
        calls = records["calls"][used]
        returned = calls[(calls["flags"] & CALL_RETURNED) != 0]
        self._entered.update(calls["function"].tolist())
        self._returned.update(returned["function"].tolist())
        self._calls.add(returned["function"].astype(np.int64), returned["duration_ns"])
        requests = calls[calls["function"] == FUNCTION_REQUEST_MODULE]
        failed = ((requests["flags"] & CALL_RETURNED) != 0) & (requests["result"] != 0)
        self._count_modules(self._modules, requests)
        self._count_modules(self._module_failures, requests[failed])

    def _count_modules(self, into: Counter[str | None], requests: Records) -> None:
        fields = ("module", "module_family", "module_protocol", "module_type")
        for asked, count in Counter(zip(*(requests[name].tolist() for name in fields), strict=True)).items():
            name = module_name(*asked)
            if name not in self._modules and len(self._modules) >= _MOST_REQUESTS:
                name = None
            into[name] += count

    def _call_durations(self, run: Run) -> dict[str, Histogram]:
        # A call's number is a byte: there is no rest.
        return {run.functions[key]: histogram for key, histogram in self._calls.totals().items() if key is not None}

    def _creation_durations(self) -> dict[tuple[int, int], Histogram]:
        return {
            (_REST, _REST) if key is None else (key >> 16, _signed(key & 0xFFFF)): histogram
            for key, histogram in self._creations.totals().items()
        }

    def _probes(self, run: Run, accounting: Accounting) -> dict[tuple[str, str], Probe]:
        """As the recorded run counted them; where it did not (fentry), what its records show."""
        probes = {}
        for number, function in run.functions.items():
            mechanism = _mechanism(run.mechanism, function)
            if mechanism is None:
                continue
            for side, counted in (("entry", self._entered), ("return", self._returned)):
                name = f"{function}:{side}"
                skipped = accounting.program_skipped.get(name, 0)
                misses = accounting.probe_misses.get(name, 0) + skipped
                hits = accounting.probe_hits[name] - skipped if name in accounting.probe_hits else counted[number]
                probes[function, side] = Probe(mechanism, True, hits, misses)
        return probes


class _Histograms:
    """Histograms by a number, past ``most`` of which all go into one under None."""

    def __init__(self, bounds_ns: tuple[int, ...], most: int) -> None:
        self._bounds = np.array(bounds_ns, np.uint64)
        self._most = most
        self._totals: dict[int | None, tuple[list[int], int]] = {}

    def add(self, keys: npt.NDArray[np.int64], durations: npt.NDArray[Any]) -> None:
        """One duration for each key."""
        found, groups = np.unique(keys, return_inverse=True)
        buckets = np.searchsorted(self._bounds, durations, side="left")
        counts = np.zeros((len(found), len(self._bounds) + 1), np.int64)
        np.add.at(counts, (groups, buckets), 1)
        # In halves: a recording's durations may have sums beyond 64 bits.
        halves = np.zeros((2, len(found)), np.uint64)
        np.add.at(halves[0], groups, durations >> np.uint64(32))
        np.add.at(halves[1], groups, durations & np.uint64(0xFFFFFFFF))
        for key, row, high, low in zip(found.tolist(), counts.tolist(), *halves.tolist(), strict=True):
            place = key if key in self._totals or len(self._totals) < self._most else None
            before, sum_ns = self._totals.get(place, ([0] * len(row), 0))
            summed = [one + other for one, other in zip(before, row, strict=True)]
            self._totals[place] = summed, sum_ns + (high << 32) + low

    def totals(self) -> dict[int | None, Histogram]:
        """Each number's."""
        return {key: Histogram(tuple(counts), sum_ns) for key, (counts, sum_ns) in self._totals.items()}


def errnos(records: Records) -> list[int | None]:
    """What each ended with, if its outcome was seen: 0, an errno, or None for what is no errno of the kernel's."""
    outermost = records["calls"][:, 0]
    values = -outermost["result"].astype(np.int64)
    odd = (values < 0) | (values > MAX_ERRNO) | ((outermost["flags"] & CALL_NULL) != 0)
    return [None if value < 0 else value for value in np.where(odd, _REST, values).tolist()]


def _mechanism(of_run: str, function: str) -> str | None:
    """How a run traced ``function``: its one mechanism, or that of a list ``inet_create:fentry, sk_alloc:kprobe``."""
    if ":" not in of_run:
        return of_run
    listed: Mapping[str, str] = dict(part.split(":", 1) for part in of_run.split(", ") if ":" in part)
    return listed.get(function)


def _signed(value: int) -> int:
    return value - (1 << 16) if value >> 15 else value
