"""The page's tables by kind, command, cgroup and module: the rows that matter most, few enough to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inetprobe.base import words
from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.uapi import FAMILIES, TYPES, protocols_of
from inetprobe.commands.report.gather import Gathered, Recording
from inetprobe.commands.report.in_short import module_of
from inetprobe.stats.loglinear import Latency
from inetprobe.stats.overview import Counts, Kind, Requests
from inetprobe.stats.top_keys import Other

#: Rows of one table; one more sums up the rest.
ROWS = 15


class Share(NamedTuple):
    """A row of sockets with one name; ``detail`` is shown small beside it, ``latency`` only in the table of kinds."""

    name: str
    detail: str
    counts: Counts
    latency: Latency | None = None


class Module(NamedTuple):
    """A row of module requests; ``module`` is the module that has the alias, None if none is known."""

    alias: str
    module: str | None
    asked: Requests


@dataclass(frozen=True, slots=True)
class Listing:
    """The first rows; ``more`` others are summed up in ``rest``."""

    rows: Sequence[Any]
    more: int
    rest: Counts


def kinds(gathered: Gathered) -> Listing:
    """By family, type and protocol."""
    view = gathered.stats.view()

    def row(kind: Kind, counts: Counts) -> Share:
        family, type_, protocol = kind
        name = ", ".join(
            words.name(names, number)
            for names, number in ((FAMILIES, family), (TYPES, type_), (protocols_of(family), protocol))
        )
        return Share(name, "", counts, view.latencies.get(kind))

    return _listing(view.kinds, row)


def comms(gathered: Gathered) -> Listing:
    """By command."""
    return _listing(gathered.stats.view().comms, lambda comm, counts: Share(comm or "(no name)", "", counts))


def cgroups(gathered: Gathered) -> Listing:
    """By cgroup, named after its container, pod or unit."""

    def row(cgroup: str | int, counts: Counts) -> Share:
        if isinstance(cgroup, int):
            return Share(f"cgroup {cgroup}", "path not seen" if cgroup else "cgroup v1, or none", counts)
        label = owner_of(cgroup).label()
        return Share(label or cgroup, cgroup if label else "", counts)

    return _listing(gathered.stats.view().cgroups, row)


def modules(gathered: Gathered) -> list[Module]:
    """By requested name, the longest total wait first."""
    runs = [recording.run for recording in gathered.recordings]
    rows = []
    for alias, asked in gathered.stats.view().modules.items():
        if isinstance(alias, Other):
            rows.append(Module("all others", None, asked))
        elif alias is None:
            rows.append(Module("a name that inet_create does not request", None, asked))
        else:
            rows.append(Module(alias, module_of(alias, runs), asked))
    return sorted(rows, key=lambda row: -row.asked.blocked_ns)[: 4 * ROWS]


def books(recordings: Sequence[Recording]) -> list[tuple[str, list[int]]]:
    """(outcome, sockets of each recording), the terms of the accounting identity that are not 0."""
    accounts = [recording.accounting for recording in recordings]
    rows = [("calls", [account.entries for account in accounts])]
    rows.append(("complete", [account.complete for account in accounts]))
    rows += _by_reason("incomplete", [account.incomplete for account in accounts])
    rows += _by_reason("lost", [account.lost for account in accounts])
    rows.append(("filtered out", [account.filtered for account in accounts]))
    rows.append(("in flight when it ended", [account.in_flight for account in accounts]))
    rows.append(("unaccounted for", [account.unaccounted() for account in accounts]))
    return [(name, counts) for index, (name, counts) in enumerate(rows) if any(counts) or index < 2]


def _by_reason(outcome: str, counts: Sequence[Mapping[str, int]]) -> list[tuple[str, list[int]]]:
    reasons = sorted({reason for count_by_reason in counts for reason in count_by_reason})
    return [
        (f"{outcome}: {reason}", [count_by_reason.get(reason, 0) for count_by_reason in counts]) for reason in reasons
    ]


def _listing(found: Mapping[Any, Counts], row: Callable[[Any, Counts], Share]) -> Listing:
    known = [(key, counts) for key, counts in found.items() if not isinstance(key, Other)]
    # Rows with many failures or long waits matter as much as those with many sockets.
    sockets, failures, waited = (
        max((column(counts) for _, counts in known), default=0) or 1 for column in (_sockets, _failures, _waited)
    )
    known.sort(
        key=lambda item: max(_sockets(item[1]) / sockets, _failures(item[1]) / failures, _waited(item[1]) / waited),
        reverse=True,
    )
    shown = sorted(known[:ROWS], key=lambda item: -item[1].sockets)
    left = [counts for _, counts in known[ROWS:]] + [counts for key, counts in found.items() if isinstance(key, Other)]
    rest = Counts._make(map(sum, zip(*left, strict=True))) if left else Counts()
    return Listing([row(key, counts) for key, counts in shown], len(left), rest)


def _sockets(counts: Counts) -> int:
    return counts.sockets


def _failures(counts: Counts) -> int:
    return counts.failures


def _waited(counts: Counts) -> int:
    return counts.blocked_ns
