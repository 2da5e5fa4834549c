"""Records → the counts that the kernel would have kept for the same sockets."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.calls import Indices, flatten, module_name
from inetprobe.record.layout import (
    FUNCTION_REQUEST_MODULE,
    RECORD,
    SECURE_COMPUTING,
    SYSCALLS,
    Records,
    has_returned,
    incomplete_reason,
    sides,
)
from inetprobe.record.measures import UNKNOWN_ERRNO, create_indices, creations, errnos, failed, seen
from inetprobe.record.run import Run
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS, Bounds, Histograms
from inetprobe.stats.snapshot import Histogram, ModuleRequests, OutcomeKey, Probe, RefusalKey, Snapshot, refusal

# A recording may have as many requests as sockets: beyond these, as in the kernel's tables, they count together.
_MAX_OUTCOMES = 1 << 16
_MAX_REQUESTS = 1 << 12
_REST = -1
# Shapes that are counted at once rather than in each batch.
_MAX_SHAPES = 1 << 12
# Losses of the recorded run of which the kernel's counts have the same reason.
_UNSEEN = {"thread_died": "thread_died", "no_state": "no_state"}


class Recount:
    """A sink that counts, and gives the Snapshot of what it was fed so far.

    The durations are without calls beyond those that a record has room for, calls of interrupts, and calls of sockets
    without a record. A lost record has no known outcome, and counts as ``outcome_missed``. Socks that no create made
    are not creations: only their calls are counted.
    """

    def __init__(self, bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS) -> None:
        self.sockets = 0
        self._bounds_ns = bounds_ns
        self._others = 0
        self._pending: Counter[bytes] = Counter()
        self._dtype = RECORD
        self._outcomes: Counter[OutcomeKey] = Counter()
        self._refusals: Counter[RefusalKey] = Counter()
        self._incomplete: Counter[str] = Counter()
        self._modules: Counter[str | None] = Counter()
        self._module_failures: Counter[str | None] = Counter()
        self._bounds = Bounds(bounds_ns)
        self._calls: Histograms[int] = Histograms(_MAX_REQUESTS)
        self._creations: Histograms[tuple[int, int]] = Histograms(_MAX_REQUESTS)
        self._entered: Counter[int] = Counter()
        self._returned: Counter[int] = Counter()
        self._run: Run | None = None
        self._accounting: Accounting | None = None

    def batch(self, batch: Batch, run: Run) -> None:
        """Counts a batch."""
        self._run = run
        self.sockets += len(batch)
        if not len(batch):
            return
        if batch.dtype is not self._dtype:
            self._settle()
            self._dtype = batch.dtype
        for key, count in zip(batch.shape_keys, batch.shapes.counts.tolist(), strict=True):
            self._pending[key] += count
        if len(self._pending) > _MAX_SHAPES:
            self._settle()
        self._time(batch)

    def summary(self, accounting: Accounting) -> None:
        """Takes what the run counted besides its records."""
        self._accounting = accounting

    def snapshot(self) -> Snapshot:
        """The counts of what was fed so far."""
        self._settle()
        known = self._accounting or Accounting(entries=self.sockets)
        incomplete = self._incomplete.copy()
        for reason, count in known.lost.items():
            incomplete[_UNSEEN.get(reason, "outcome_missed")] += count
        run = self._run
        return Snapshot(
            bounds_ns=self._bounds_ns,
            entries=known.entries - self._others,
            outcomes=dict(self._outcomes),
            refusals=dict(self._refusals),
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
        """Counts the shapes of the batches since the last call: a few dozen, once instead of in each batch."""
        shapes = _Shapes(
            np.frombuffer(b"".join(self._pending), self._dtype), np.array([*self._pending.values()], np.intp)
        )
        self._pending.clear()
        self._others += shapes.total(~shapes.created)
        self._count_outcomes(shapes)
        self._count_refusals(shapes)
        self._count_calls(shapes)

    def _count_outcomes(self, shapes: _Shapes) -> None:
        made, made_counts = creations(shapes.records), shapes.counts[shapes.created]
        known = seen(made)
        self._incomplete["outcome_missed"] += int(made_counts[~known].sum())
        records, counts = made[known], made_counts[known].tolist()
        columns = [records[name].tolist() for name in ("family", "type", "protocol")]
        flags = records["flags"].tolist()
        for count, flag, errno, (family, type_, protocol) in zip(
            counts, flags, errnos(records).tolist(), zip(*columns, strict=True), strict=True
        ):
            reason = incomplete_reason(flag)
            if reason is not None:
                self._incomplete[reason] += count
            outcome = OutcomeKey(family, type_, protocol, None if errno == UNKNOWN_ERRNO else errno)
            if outcome not in self._outcomes and len(self._outcomes) >= _MAX_OUTCOMES:
                outcome = OutcomeKey(_REST, _REST, None, 0 if errno == 0 else None)
            self._outcomes[outcome] += count

    def _count_refusals(self, shapes: _Shapes) -> None:
        """Counts the system calls that failed before a create, or after one that had succeeded."""
        asked = np.isin(shapes.records["calls"]["function"][:, 0], [*SYSCALLS, SECURE_COMPUTING])
        made = creations(shapes.records)
        in_create = np.zeros(len(asked), bool)
        in_create[shapes.created] = failed(made) | ~seen(made)
        refused = asked & failed(shapes.records) & ~in_create
        records = shapes.records[refused]
        for syscall, count, errno, after, family, type_ in zip(
            records["calls"]["function"][:, 0].tolist(),
            shapes.counts[refused].tolist(),
            errnos(records).tolist(),
            shapes.created[refused].tolist(),
            *(records[f"asked_{name}"].tolist() for name in ("family", "type")),
            strict=True,
        ):
            self._refusals[refusal(SYSCALLS.get(syscall), family, type_, errno, after=after)] += count

    def _count_calls(self, shapes: _Shapes) -> None:
        calls = flatten(shapes.records)
        counts = np.repeat(shapes.counts, calls.counts)
        returned = has_returned(calls.flags)
        for counter, chosen in ((self._entered, slice(None)), (self._returned, returned)):
            for function, count in zip(calls.function[chosen].tolist(), counts[chosen].tolist(), strict=True):
                counter[function] += count
        requests = np.flatnonzero(calls.function == FUNCTION_REQUEST_MODULE)
        failed = returned & (calls.result != 0)
        asked = (calls.module, calls.module_family, calls.module_protocol, calls.module_type)
        for count, refused, *alias in zip(
            counts[requests].tolist(),
            failed[requests].tolist(),
            *(column[requests].tolist() for column in asked),
            strict=True,
        ):
            name = module_name(*alias)
            if name not in self._modules and len(self._modules) >= _MAX_REQUESTS:
                name = None
            self._modules[name] += count
            self._module_failures[name] += count * refused

    def _time(self, batch: Batch) -> None:
        """Adds the durations of calls by function, and those of creations, which are calls as well, by request.

        Only calls that returned have a duration, and socks that no create made are not creations.
        """
        calls = batch.calls
        shapes = batch.distinct.records
        creates, of_shapes = create_indices(shapes), _create_labels(shapes)
        labels = list(dict.fromkeys([*_FUNCTION_LABELS, *of_shapes]))
        index_of = {label: index for index, label in enumerate(labels)}
        groups = calls.function.astype(np.intp)
        created = np.flatnonzero((creates >= 0).take(batch.shapes.group_of))
        of_created = batch.shapes.group_of[created]
        numbers = np.zeros(len(shapes), np.intp)
        numbers[creates >= 0] = [index_of[label] for label in of_shapes]
        groups[calls.starts[created] + creates[of_created]] = numbers[of_created]
        returned = has_returned(calls.flags)
        if not returned.all():
            groups[~returned] = len(labels)
        for group, counts, sum_ns in self._bounds.tally(groups, calls.duration_ns):
            if group < len(labels):
                function, request = labels[group]
                self._calls.add(function, counts, sum_ns)
                if request is not None:
                    self._creations.add(request, counts, sum_ns)

    def _call_durations(self, run: Run) -> dict[str, Histogram]:
        # There are at most 256 functions, so none of them counts under None.
        return {
            run.functions[key]: histogram
            for key, histogram in self._calls.totals().items()
            if key is not None and key != SECURE_COMPUTING  # whose time is not known
        }

    def _creation_durations(self) -> dict[tuple[int, int], Histogram]:
        return {
            (_REST, _REST) if key is None else key: histogram for key, histogram in self._creations.totals().items()
        }

    def _probes(self, run: Run, accounting: Accounting) -> dict[tuple[str, str], Probe]:
        """Hits as the recorded run counted them; where it did not (fentry), the calls in its records."""
        probes = {}
        counted = {"entry": self._entered, "return": self._returned}
        numbers = {function: number for number, function in run.functions.items()}
        for function, mechanism in run.mechanisms.items():
            number = numbers.get(function)  # none of a function that is no call of a trace
            for side in sides(function):
                name = f"{function}:{side}"
                skipped = accounting.program_skipped.get(name, 0)
                misses = accounting.probe_misses.get(name, 0) + skipped
                hits = None if number is None else counted[side][number]
                if name in accounting.probe_hits:
                    hits = accounting.probe_hits[name] - skipped
                probes[function, side] = Probe(mechanism, True, hits, misses)
        return probes


class _Label(NamedTuple):
    """What a duration counts for: a function by its number and, if the call was a creation, its family and type."""

    function: int
    request: tuple[int, int] | None


# By the function's number, a byte.
_FUNCTION_LABELS = [_Label(number, None) for number in range(256)]


def _create_labels(records: Records) -> list[_Label]:
    """The label of each create of the records that have one."""
    made = creations(records)
    return [
        _Label(function, (family, type_) if ended else None)
        for ended, function, family, type_ in zip(
            seen(made).tolist(),
            made["calls"]["function"][:, 0].tolist(),
            made["family"].tolist(),
            made["type"].tolist(),
            strict=True,
        )
    ]


class _Shapes:
    """One record of each shape, and the number of records of that shape."""

    def __init__(self, records: Records, counts: Indices) -> None:
        self.records = records
        self.counts = counts
        self.created = create_indices(records) >= 0

    def total(self, which: npt.NDArray[np.bool_]) -> int:
        """How many records are of these shapes."""
        return int(self.counts[which].sum())
