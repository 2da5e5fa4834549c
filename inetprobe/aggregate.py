"""Records → the counts that the kernel would have kept of the same sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.buckets import DEFAULT_BOUNDS_NS
from inetprobe.calls import Places, flatten
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
# numpy adds weights up as doubles: of halves of 64 bits so many are exact.
_EXACT = 1 << 21
_HALF = np.uint64(0xFFFFFFFF)
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
        if not len(batch):
            return
        shapes = batch.shapes
        kinds = _Kinds(batch.kinds, shapes.counts)
        self._bare += kinds.total(kinds.bare)
        self._count_outcomes(kinds)
        self._count_calls(kinds)
        self._time(batch)

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

    def _count_outcomes(self, kinds: _Kinds) -> None:
        known = seen(kinds.records) & ~kinds.bare
        self._incomplete["outcome_missed"] += kinds.total(~known & ~kinds.bare)
        records, counts = kinds.records[known], kinds.counts[known].tolist()
        columns = [records[name].tolist() for name in ("family", "type", "protocol")]
        flags = records["flags"].tolist()
        for count, flag, errno, (family, type_, protocol) in zip(
            counts, flags, errnos(records), zip(*columns, strict=True), strict=True
        ):
            reason = incomplete_reason(flag)
            if reason is not None:
                self._incomplete[reason] += count
            outcome = Outcome(family, type_, protocol, errno)
            if outcome not in self._outcomes and len(self._outcomes) >= _MOST_OUTCOMES:
                outcome = Outcome(_REST, _REST, None, 0 if errno == 0 else None)
            self._outcomes[outcome] += count

    def _count_calls(self, kinds: _Kinds) -> None:
        calls = flatten(kinds.records["calls"], kinds.records["ncalls"])
        counts = np.repeat(kinds.counts, calls.counts)
        returned = (calls.flags & CALL_RETURNED) != 0
        for into, of in ((self._entered, slice(None)), (self._returned, returned)):
            for function, count in zip(calls.function[of].tolist(), counts[of].tolist(), strict=True):
                into[function] += count
        requests = np.flatnonzero(calls.function == FUNCTION_REQUEST_MODULE)
        failed = returned & (calls.result != 0)
        asked = (calls.module, calls.module_family, calls.module_protocol, calls.module_type)
        for count, refused, *what in zip(
            counts[requests].tolist(),
            failed[requests].tolist(),
            *(column[requests].tolist() for column in asked),
            strict=True,
        ):
            name = module_name(*what)
            if name not in self._modules and len(self._modules) >= _MOST_REQUESTS:
                name = None
            self._modules[name] += count
            self._module_failures[name] += count * refused

    def _time(self, batch: Batch) -> None:
        """Calls by function, creations by family and type: none of socks that no create made, or not seen to end."""
        calls, kinds = batch.calls, batch.kinds
        buckets = self._calls.buckets(calls.duration_ns)
        returned = (calls.flags & CALL_RETURNED) != 0
        timed = slice(None) if returned.all() else returned
        self._calls.add(list(range(256)), calls.function[timed], buckets[timed], calls.duration_ns[timed])

        known = seen(kinds) & ((kinds["flags"] & RECORD_BARE) == 0)
        keys = kinds["family"].astype(np.int64) << 16 | kinds["type"].astype(np.int64) & 0xFFFF
        labels, group = np.unique(keys[known], return_inverse=True)
        group_of_kind = np.full(len(kinds), len(labels))
        group_of_kind[known] = group
        groups = group_of_kind[batch.shapes.of]
        created = calls.starts
        if not known.all():
            created, groups = created[groups < len(labels)], groups[groups < len(labels)]
        self._creations.add(labels.tolist(), groups, buckets[created], calls.duration_ns[created])

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


class _Kinds:
    """One record of each shape in a batch, and how many there are of it."""

    def __init__(self, records: Records, counts: Places) -> None:
        self.records = records
        self.counts = counts
        self.bare: npt.NDArray[np.bool_] = (records["flags"] & RECORD_BARE) != 0

    def total(self, which: npt.NDArray[np.bool_]) -> int:
        """How many records are of these kinds."""
        return int(self.counts[which].sum())


class _Histograms:
    """Histograms by a number, past ``most`` of which all go into one under None."""

    def __init__(self, bounds_ns: tuple[int, ...], most: int) -> None:
        self._bounds = [np.uint64(bound) for bound in bounds_ns]
        self._most = most
        self._totals: dict[int | None, tuple[list[int], int]] = {}

    def buckets(self, durations: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """The bucket of each. Comparing all with every bound takes a quarter of the time of searching."""
        found = np.zeros(len(durations), np.uint8)
        for bound in self._bounds:
            found += (durations > bound).view(np.uint8)
        return found

    def add(
        self,
        labels: list[int],
        groups: npt.NDArray[Any],
        buckets: npt.NDArray[np.uint8],
        durations: npt.NDArray[np.uint64],
    ) -> None:
        """Durations and their buckets, each of the group whose label stands at that place; not all need be there."""
        for start in range(0, len(groups), _EXACT):
            part = slice(start, start + _EXACT)
            self._add(labels, groups[part], buckets[part], durations[part])

    def _add(
        self,
        labels: list[int],
        groups: npt.NDArray[Any],
        buckets: npt.NDArray[np.uint8],
        durations: npt.NDArray[np.uint64],
    ) -> None:
        groups = groups.astype(np.intp)
        width = len(self._bounds) + 1
        counts = np.bincount(groups * width + buckets, minlength=len(labels) * width).reshape(-1, width)
        # In halves: a recording's durations may have sums beyond 64 bits.
        low = np.bincount(groups, durations & _HALF, len(labels)).tolist()
        above = durations >> np.uint64(32)
        high = np.bincount(groups, above, len(labels)).tolist() if above.any() else [0] * len(low)
        for place in np.flatnonzero(counts.any(axis=1)).tolist():
            key = labels[place]
            known = key if key in self._totals or len(self._totals) < self._most else None
            before, sum_ns = self._totals.get(known, ([0] * width, 0))
            summed = [one + other for one, other in zip(before, counts[place].tolist(), strict=True)]
            self._totals[known] = summed, sum_ns + (int(high[place]) << 32) + int(low[place])

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
