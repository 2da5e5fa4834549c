"""Records → the counts that the kernel would have kept of the same sockets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.calls import Indices, flatten, module_name
from inetprobe.record.layout import (
    FUNCTION_REQUEST_MODULE,
    RECORD,
    Records,
    has_returned,
    incomplete_reason,
    is_bare,
)
from inetprobe.record.measures import UNKNOWN_ERRNO, errnos, seen
from inetprobe.record.run import Run
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS, Bounds, Histograms
from inetprobe.stats.snapshot import Histogram, ModuleRequests, OutcomeKey, Probe, Snapshot

# A recording may make up as many requests as it has sockets: past these, as in the kernel's tables, they are one.
_MOST_OUTCOMES = 1 << 16
_MOST_REQUESTS = 1 << 12
_REST = -1
# Kinds whose counting is put off.
_MOST_KINDS = 1 << 12
# A call's number is a byte.
_FUNCTIONS = [(number,) for number in range(256)]
# Losses of the recorded run that say no more of a socket than that it was begun.
_UNSEEN = {"thread_died": "thread_died", "no_state": "no_state"}


class Recount:
    """A sink that counts, and gives the Snapshot of what it was fed so far.

    Calls beyond those a record holds, of interrupts and of sockets without a record are not in the durations. A lost
    record's outcome cannot be known: it counts as ``outcome_missed``. Socks that no create made are not creations: of
    those only the calls are counted.
    """

    def __init__(self, bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS) -> None:
        self.sockets = 0
        self._bounds_ns = bounds_ns
        self._bare = 0
        self._kinds: Counter[bytes] = Counter()
        self._dtype = RECORD
        self._outcomes: Counter[OutcomeKey] = Counter()
        self._incomplete: Counter[str] = Counter()
        self._modules: Counter[str | None] = Counter()
        self._module_failures: Counter[str | None] = Counter()
        self._bounds = Bounds(bounds_ns)
        self._calls: Histograms[int] = Histograms(_MOST_REQUESTS)
        self._creations: Histograms[tuple[int, int]] = Histograms(_MOST_REQUESTS)
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
        if batch.dtype is not self._dtype:
            self._settle()
            self._dtype = batch.dtype
        for key, count in zip(batch.shape_keys, batch.shapes.counts.tolist(), strict=True):
            self._kinds[key] += count
        if len(self._kinds) > _MOST_KINDS:
            self._settle()
        self._time(batch)

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""
        self._accounting = accounting

    def snapshot(self) -> Snapshot:
        """See Counts."""
        self._settle()
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

    def _settle(self) -> None:
        """Counts what was put off: the same few dozen kinds are counted once, and not in each batch."""
        kinds = _Kinds(np.frombuffer(b"".join(self._kinds), self._dtype), np.array([*self._kinds.values()], np.intp))
        self._kinds.clear()
        self._bare += kinds.total(kinds.bare)
        self._count_outcomes(kinds)
        self._count_calls(kinds)

    def _count_outcomes(self, kinds: _Kinds) -> None:
        known = seen(kinds.records) & ~kinds.bare
        self._incomplete["outcome_missed"] += kinds.total(~known & ~kinds.bare)
        records, counts = kinds.records[known], kinds.counts[known].tolist()
        columns = [records[name].tolist() for name in ("family", "type", "protocol")]
        flags = records["flags"].tolist()
        for count, flag, errno, (family, type_, protocol) in zip(
            counts, flags, errnos(records).tolist(), zip(*columns, strict=True), strict=True
        ):
            reason = incomplete_reason(flag)
            if reason is not None:
                self._incomplete[reason] += count
            outcome = OutcomeKey(family, type_, protocol, None if errno == UNKNOWN_ERRNO else errno)
            if outcome not in self._outcomes and len(self._outcomes) >= _MOST_OUTCOMES:
                outcome = OutcomeKey(_REST, _REST, None, 0 if errno == 0 else None)
            self._outcomes[outcome] += count

    def _count_calls(self, kinds: _Kinds) -> None:
        calls = flatten(kinds.records)
        counts = np.repeat(kinds.counts, calls.counts)
        returned = has_returned(calls.flags)
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
        """Calls by function; creations, which are calls too, by family and type. Only what was seen to end has a time,
        and socks that no create made are no creations."""
        calls, kinds = batch.calls, batch.distinct.records
        created = seen(kinds) & ~is_bare(kinds["flags"])
        keys = [
            (function, family, type_) if is_created else (function,)
            for is_created, function, family, type_ in zip(
                created.tolist(),
                kinds["calls"]["function"][:, 0].tolist(),
                kinds["family"].tolist(),
                kinds["type"].tolist(),
                strict=True,
            )
        ]
        labels = list(dict.fromkeys([*_FUNCTIONS, *keys]))
        places = {label: place for place, label in enumerate(labels)}
        groups = calls.function.astype(np.intp)
        groups[calls.starts] = np.array([places[key] for key in keys]).take(batch.shapes.group_of)
        returned = has_returned(calls.flags)
        if not returned.all():
            groups[~returned] = len(labels)
        for place, counts, sum_ns in self._bounds.tally(groups, calls.duration_ns):
            if place < len(labels):
                function, *request = labels[place]
                self._calls.add(function, counts, sum_ns)
                if request:
                    self._creations.add((request[0], request[1]), counts, sum_ns)

    def _call_durations(self, run: Run) -> dict[str, Histogram]:
        # A call's number is a byte: there is no rest.
        return {run.functions[key]: histogram for key, histogram in self._calls.totals().items() if key is not None}

    def _creation_durations(self) -> dict[tuple[int, int], Histogram]:
        return {
            (_REST, _REST) if key is None else key: histogram for key, histogram in self._creations.totals().items()
        }

    def _probes(self, run: Run, accounting: Accounting) -> dict[tuple[str, str], Probe]:
        """As the recorded run counted them; where it did not (fentry), what its records show."""
        probes = {}
        for number, function in run.functions.items():
            mechanism = run.mechanisms.get(function)
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

    def __init__(self, records: Records, counts: Indices) -> None:
        self.records = records
        self.counts = counts
        self.bare = is_bare(records["flags"])

    def total(self, which: npt.NDArray[np.bool_]) -> int:
        """How many records are of these kinds."""
        return int(self.counts[which].sum())
