"""Totals of a run's records for people: which processes, which sockets, how long they took, what they waited for.

``OverviewSink`` takes any number of records in bounded memory. ``recount``, in contrast, makes the same counts, in the
same buckets, that the kernel keeps for Prometheus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from inetprobe.base import text
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.calls import module_name
from inetprobe.record.calls import used as used_slots
from inetprobe.record.layout import FUNCTION_REQUEST_MODULE, Records, has_returned, is_bare, reasons
from inetprobe.record.measures import UNKNOWN_ERRNO, errnos, failed, seen
from inetprobe.record.run import Run
from inetprobe.record.shapes import grouped
from inetprobe.stats.loglinear import Latency, Rows, sums
from inetprobe.stats.top_keys import OTHER, Other, TopKeys

_K = TypeVar("_K", bound=Hashable)
#: The maximum number of keys in a table; the rest counts as OTHER.
MOST_WHO, MOST_KINDS, MOST_MODULES, MOST_FAILURES, MOST_FUNCTIONS = 4096, 512, 1024, 4096, 64
# Records that are counted at once: the sums of more would not be exact as floats.
_STEP = 1 << 15


class Kind(NamedTuple):
    """The arguments of socket(): ``type`` without its flags, ``protocol`` as the caller gave it."""

    family: int
    type: int
    protocol: int


class Failure(NamedTuple):
    """A kind and the errno that it failed with, positive; None for a failure whose result is no errno."""

    family: int
    type: int
    protocol: int
    errno: int | None


class ProcessKey(NamedTuple):
    """A process; ``comm`` is decoded (inetprobe.base.text), but not yet escaped for a terminal."""

    pid: int
    comm: str


class Asker(NamedTuple):
    """A process that asked for a module; ``module`` is None for a name that inet_create does not ask for."""

    module: str | None
    pid: int
    comm: str


class Counts(NamedTuple):
    """Sockets of one kind, process, comm or cgroup.

    ``failures`` are those of sockets whose outcome was seen. ``requests`` are calls of __request_module, ``blocked_ns``
    is the time inside those that returned, and ``longest_ns`` the longest of them.
    """

    sockets: int = 0
    failures: int = 0
    requests: int = 0
    blocked_ns: int = 0
    longest_ns: int = 0


class Requests(NamedTuple):
    """Requests for one module; ``failures`` are those that did not return 0; times as in ``Counts``."""

    requests: int = 0
    failures: int = 0
    blocked_ns: int = 0
    longest_ns: int = 0


class Facts(NamedTuple):
    """The latest facts of a process. ``cgroup`` is a path, None where it is not known."""

    ppid: int
    uid: int
    cgroup: str | None


#: A cgroup's path, or its id where no path is known.
Cgroup = str | int


@dataclass(frozen=True, slots=True)
class Overview:
    """The counts at one moment. Each mapping may have the key OTHER, for the keys that its table had no room for.

    ``sockets`` are creations with a record, ``unseen`` those of them without an outcome, ``bare`` the socks that no
    create made, which count in ``functions`` alone. ``failures`` are by kind and errno, ``errnos`` by errno alone.
    ``lost`` are sockets without a record, by reason, as told by the batches and, once the run is over, the accounting.
    """

    sockets: int = 0
    bare: int = 0
    failed: int = 0
    unseen: int = 0
    requests: int = 0
    blocked_ns: int = 0
    functions: Mapping[str | Other, Latency] = field(default_factory=dict)
    kinds: Mapping[Kind | Other, Counts] = field(default_factory=dict)
    latencies: Mapping[Kind | Other, Latency] = field(default_factory=dict)
    failures: Mapping[Failure | Other, int] = field(default_factory=dict)
    errnos: Mapping[int | None, int] = field(default_factory=dict)
    processes: Mapping[ProcessKey | Other, Counts] = field(default_factory=dict)
    facts: Mapping[ProcessKey, Facts] = field(default_factory=dict)
    comms: Mapping[str | Other, Counts] = field(default_factory=dict)
    cgroups: Mapping[Cgroup | Other, Counts] = field(default_factory=dict)
    modules: Mapping[str | Other | None, Requests] = field(default_factory=dict)
    askers: Mapping[Asker | Other, Requests] = field(default_factory=dict)
    incomplete: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    first_ns: int | None = None
    last_ns: int | None = None
    accounting: Accounting | None = None


_Ns = npt.NDArray[np.uint64]


class _Sums:
    """The columns of ``Counts`` by group. ``groups`` is the group of each record and ``fails`` whether it failed,
    ``[records]``; ``owner`` is the record of each module request, and ``blocked`` its time, ``[requests]``."""

    def __init__(self, groups: Rows, count: int, fails: npt.NDArray[np.bool_], owner: Rows, blocked: _Ns) -> None:
        asking = groups[owner]
        self.columns = (
            np.bincount(groups, minlength=count).tolist(),
            np.bincount(groups[fails], minlength=count).tolist(),
            np.bincount(asking, minlength=count).tolist(),
            sums(asking, blocked, count),
        )
        self.longest = _longest(asking, blocked, count)


def _longest(groups: Rows, values: _Ns, count: int) -> list[int]:
    """The largest value of each of ``count`` groups, 0 of an empty one."""
    longest = np.zeros(count, np.uint64)
    np.maximum.at(longest, groups, values)
    in_order: list[int] = longest.tolist()
    return in_order


class OverviewSink:
    """A sink that counts, and gives the Overview of what it was fed so far. Not thread-safe."""

    def __init__(self) -> None:
        self._functions: TopKeys[str] = TopKeys(MOST_FUNCTIONS, 1, timed=True)
        self._kinds: TopKeys[Kind] = TopKeys(MOST_KINDS, 4, timed=True)
        self._failures: TopKeys[Failure] = TopKeys(MOST_FAILURES, 1)
        self._processes: TopKeys[ProcessKey] = TopKeys(MOST_WHO, 4)
        self._comms: TopKeys[str] = TopKeys(MOST_WHO, 4)
        self._cgroups: TopKeys[Cgroup] = TopKeys(MOST_WHO, 4)
        self._modules: TopKeys[str | None] = TopKeys(MOST_MODULES, 3)
        self._askers: TopKeys[Asker] = TopKeys(MOST_WHO, 3)
        self._errnos: Counter[int | None] = Counter()
        self._incomplete: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._totals = Counts()
        self._bare = 0
        self._unseen = 0
        self._span: tuple[int, int] | None = None
        self._accounting: Accounting | None = None

    def batch(self, batch: Batch, run: Run) -> None:
        """Counts a batch."""
        for loss in batch.losses:
            self._lost[loss.reason] += loss.count
        for start in range(0, len(batch), _STEP):
            self._add(batch.records[start : start + _STEP], run)

    def summary(self, accounting: Accounting) -> None:
        """Takes the accounting; its losses replace the smaller ones of the batches."""
        self._accounting = accounting
        for reason, count in accounting.lost.items():
            self._lost[reason] = max(self._lost[reason], count)

    def merge(self, other: OverviewSink) -> None:
        """Adds what another was fed. The accountings of the runs are not added up: the view then has none."""
        tables: tuple[tuple[TopKeys[Any], TopKeys[Any]], ...] = (
            (self._functions, other._functions),
            (self._kinds, other._kinds),
            (self._failures, other._failures),
            (self._processes, other._processes),
            (self._comms, other._comms),
            (self._cgroups, other._cgroups),
            (self._modules, other._modules),
            (self._askers, other._askers),
        )
        for mine, theirs in tables:
            mine.merge(theirs)
        self._errnos += other._errnos
        self._incomplete += other._incomplete
        self._lost += other._lost
        self._totals = _sum(self._totals, other._totals)
        self._bare += other._bare
        self._unseen += other._unseen
        self._widen(other._span)
        self._accounting = None

    def buckets(self, key: str | Kind | Other) -> list[tuple[int, int, int]]:
        """(lowest ns, highest ns, count) of each bucket in use of a function's or a kind's histogram, ascending.

        Raises KeyError if nothing was counted under that key; OTHER is that of the kinds.
        """
        return list(self._functions.buckets(key) if isinstance(key, str) else self._kinds.buckets(key))

    def view(self) -> Overview:
        """A copy of the counts at this moment."""
        return Overview(
            sockets=self._totals.sockets,
            bare=self._bare,
            failed=self._totals.failures,
            unseen=self._unseen,
            requests=self._totals.requests,
            blocked_ns=self._totals.blocked_ns,
            functions=_latencies(self._functions),
            kinds={key: Counts._make(counts) for key, counts in self._kinds.items()},
            latencies=_latencies(self._kinds),
            failures={key: counts[0] for key, counts in self._failures.items()},
            errnos=dict(self._errnos),
            processes={key: Counts._make(counts) for key, counts in self._processes.items()},
            facts=dict(self._processes.notes),
            comms={key: Counts._make(counts) for key, counts in self._comms.items()},
            cgroups={key: Counts._make(counts) for key, counts in self._cgroups.items()},
            modules={key: Requests._make(counts) for key, counts in self._modules.items()},
            askers={key: Requests._make(counts) for key, counts in self._askers.items()},
            incomplete=dict(self._incomplete),
            lost=dict(self._lost),
            first_ns=None if self._span is None else self._span[0],
            last_ns=None if self._span is None else self._span[1],
            accounting=self._accounting,
        )

    def _add(self, records: Records, run: Run) -> None:
        self._widen((int(records["start_ns"].min()), int(records["start_ns"].max())))
        self._incomplete.update({why: n for why, n in reasons(records["flags"]).items() if why is not None})
        used = used_slots(records)
        self._add_functions(records["calls"][used], run)
        bare = is_bare(records["flags"])
        self._bare += int(np.count_nonzero(bare))
        if bare.any():
            records, used = records[~bare], used[~bare]
        if len(records):
            self._add_creations(records, used, run)

    def _add_functions(self, calls: Records, run: Run) -> None:
        returned = calls[has_returned(calls["flags"])]
        numbers, groups, counts = np.unique(returned["function"], return_inverse=True, return_counts=True)
        rows = self._functions.add([run.functions[number] for number in numbers.tolist()], [counts.tolist()])
        assert self._functions.histograms is not None
        self._functions.histograms.add(rows[groups], returned["duration_ns"])

    def _add_creations(self, records: Records, used: npt.NDArray[np.bool_], run: Run) -> None:
        first, who, _ = grouped(records["pid"], records["cgroup_id"], records["comm"])
        asked = used & (records["calls"]["function"] == FUNCTION_REQUEST_MODULE)
        owner = np.nonzero(asked)[0]
        requests = records["calls"][asked]
        # The duration of a call that was not seen to return is not known.
        blocked = np.where(has_returned(requests["flags"]), requests["duration_ns"], np.uint64(0))
        fails = failed(records)
        self._unseen += int(np.count_nonzero(~seen(records)))
        last = np.zeros(len(first), np.int64)
        last[who] = np.arange(len(records))  # of equal indices, the last assignment stays
        self._add_who(records[last], last, _Sums(who, len(first), fails, owner, blocked), run)
        self._add_kinds(records, fails, owner, blocked)
        if len(requests):
            self._add_requests(records[first], who[owner], requests, blocked)

    def _add_who(self, each: Records, order: Rows, sums_: _Sums, run: Run) -> None:
        columns, longest = sums_.columns, sums_.longest
        self._totals = _sum(self._totals, Counts._make([*map(sum, columns), max(longest)]))
        processes = _processes(each)
        paths = [run.cgroups.get(identity) for identity in each["cgroup_id"].tolist()]
        fields = (each[name].tolist() for name in ("ppid", "uid"))
        facts = [Facts(ppid, uid, path) for ppid, uid, path in zip(*fields, paths, strict=True)]
        # A process that has moved to another cgroup occurs twice.
        latest = {processes[index]: facts[index] for index in np.argsort(order).tolist()}
        self._processes.add(processes, columns, longest, [latest[process] for process in processes])
        self._comms.add([process.comm for process in processes], columns, longest)
        named = [
            identity if path is None else path for identity, path in zip(each["cgroup_id"].tolist(), paths, strict=True)
        ]
        self._cgroups.add(named, columns, longest)

    def _add_kinds(self, records: Records, fails: npt.NDArray[np.bool_], owner: Rows, blocked: _Ns) -> None:
        fields = [records[name] for name in Kind._fields]
        first, groups, _ = grouped(*fields)
        kinds = [Kind._make(values) for values in zip(*(column[first].tolist() for column in fields), strict=True)]
        counted = _Sums(groups, len(first), fails, owner, blocked)
        rows = self._kinds.add(kinds, counted.columns, counted.longest)
        known = seen(records)
        assert self._kinds.histograms is not None
        self._kinds.histograms.add(rows[groups[known]], records["calls"]["duration_ns"][known, 0])
        if not fails.any():
            return
        of_failed = errnos(records)[fails]
        first, _, each = grouped(groups[fails], of_failed)
        counts = each.tolist()
        numbers = [None if number == UNKNOWN_ERRNO else number for number in of_failed[first].tolist()]
        asked = records[np.flatnonzero(fails)[first]]
        of_kind = (asked[name].tolist() for name in Kind._fields)
        failures = [Failure(*values) for values in zip(*of_kind, numbers, strict=True)]
        self._failures.add(failures, [counts])
        for errno, count in zip(numbers, counts, strict=True):
            self._errnos[errno] += count

    def _add_requests(self, each: Records, who: Rows, requests: Records, blocked: _Ns) -> None:
        fields = ("module", "module_family", "module_protocol", "module_type")
        first, groups, _ = grouped(who, *(requests[name] for name in fields))
        refused = has_returned(requests["flags"]) & (requests["result"] != 0)
        columns = [
            np.bincount(groups).tolist(),
            np.bincount(groups[refused], minlength=len(first)).tolist(),
            sums(groups, blocked, len(first)),
        ]
        longest = _longest(groups, blocked, len(first))
        names = [
            module_name(*asked) for asked in zip(*(requests[first][name].tolist() for name in fields), strict=True)
        ]
        self._modules.add(names, columns, longest)
        askers = _processes(each[who[first]])
        self._askers.add([Asker(name, *asker) for name, asker in zip(names, askers, strict=True)], columns, longest)

    def _widen(self, span: tuple[int, int] | None) -> None:
        if self._span is None or span is None:
            self._span = span or self._span
        else:
            self._span = min(self._span[0], span[0]), max(self._span[1], span[1])


def _processes(records: Records) -> list[ProcessKey]:
    comms = [text.decode(comm.partition(b"\0")[0]) for comm in records["comm"].tolist()]
    return [ProcessKey(pid, comm) for pid, comm in zip(records["pid"].tolist(), comms, strict=True)]


def _latencies(table: TopKeys[_K]) -> dict[_K | Other, Latency]:
    latencies = ((key, table.latency(key)) for key in (*(key for key, _ in table.items()), OTHER))
    return {key: latency for key, latency in latencies if latency is not None}


def _sum(left: Counts, right: Counts) -> Counts:
    added = (mine + theirs for mine, theirs in zip(left[:-1], right[:-1], strict=True))
    return Counts._make([*added, max(left.longest_ns, right.longest_ns)])
