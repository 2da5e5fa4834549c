"""The tables of ``top``: their columns, and the rows of a Picture as values and as text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inetprobe.base import words
from inetprobe.base.cgroup_owner import Owner, owner_of
from inetprobe.base.text import printable
from inetprobe.base.uapi import FAMILIES, TYPES, errno_name, protocols_of
from inetprobe.commands.top.collect import Picture
from inetprobe.stats.overview import Cgroup, Counts, Kind, ProcessKey
from inetprobe.stats.top_keys import OTHER, Other

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its ``title``, how to show a value, and whether it is a number (right-aligned, largest first)."""

    title: str
    show: Callable[[Any], str]
    number: bool = True


@dataclass(frozen=True, slots=True)
class TableView:
    """A table: ``rows`` have one value per column; the row of the rest has ``OTHER`` as its first value. ``sort`` is
    the initial sort column; ``about`` describes the table in a phrase."""

    name: str
    title: str
    about: str
    columns: tuple[Column, ...]
    sort: int
    rows: Callable[[Picture], Iterable[Row]]

    def sorted(self, frame: Picture, column: int, *, reverse: bool = False) -> list[Row]:
        """The rows sorted by a column: numbers from the largest, words from A; unknown values and OTHER come last."""
        rows = list(self.rows(frame))
        known = [row for row in rows if row[column] is not None and row[0] is not OTHER]
        # Equal rows keep one order, whichever way the column is sorted.
        known.sort(key=lambda row: tuple(map(str, row)))
        known.sort(key=lambda row: row[column], reverse=self.columns[column].number != reverse)
        unknown = [row for row in rows if row[column] is None and row[0] is not OTHER]
        return [*known, *unknown, *(row for row in rows if row[0] is OTHER)]

    def texts(self, row: Row) -> tuple[str, ...]:
        """The row as it is shown, harmless for a terminal."""
        texts = (column.show(value) for column, value in zip(self.columns, row, strict=True))
        return tuple(printable(text) for text in texts)


def count(value: int | None) -> str:
    """``1,234``; ``-`` for 0, so that the other counts stand out."""
    return f"{value:,}" if value else "-"


def rate(value: float | None) -> str:
    """A rate per second, with one decimal below 10; ``-`` for none."""
    if not value:
        return "-"
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def took(value: int | None) -> str:
    """A duration in nanoseconds as text; ``-`` for none."""
    return words.duration(value) if value else "-"


def word(value: Any) -> str:
    """A name, ``other`` for the rest and ``-`` for none."""
    return "other" if value is OTHER else "-" if value is None else str(value)


def kind(value: Kind | Other) -> str:
    """``AF_INET SOCK_STREAM IPPROTO_TCP`` in short: ``inet stream tcp``."""
    if isinstance(value, Other):
        return "other"
    protocol = words.name(protocols_of(value.family), value.protocol)
    names = (words.name(FAMILIES, value.family), words.name(TYPES, value.type), protocol)
    return " ".join(
        name.removeprefix(prefix).lower() for name, prefix in zip(names, ("AF_", "SOCK_", "IPPROTO_"), strict=True)
    )


def _kind_or_none(value: Kind | None) -> str:
    return "-" if value is None else kind(value)


def _functions(frame: Picture) -> Iterable[Row]:
    for function, latency in frame.view.functions.items():
        yield (
            function, latency.calls, frame.rate("functions", function), latency.p50_ns, latency.p99_ns, latency.max_ns,
            latency.sum_ns,
        )  # fmt: skip


def _kinds(frame: Picture) -> Iterable[Row]:
    for kind_, counts in frame.view.kinds.items():
        latency = frame.view.latencies.get(kind_)
        times = (None, None, None) if latency is None else (latency.p50_ns, latency.p99_ns, latency.max_ns)
        yield kind_, counts.sockets, frame.rate("kinds", kind_), counts.failures, *times, counts.blocked_ns


def _errnos(frame: Picture) -> Iterable[Row]:
    most: dict[int | None, tuple[int, Kind]] = {}
    for failure, failures in frame.view.failures.items():
        if not isinstance(failure, Other):
            one = failures, Kind(*failure[:3])
            most[failure.errno] = max(most.get(failure.errno, one), one)
    for errno, failures in frame.view.errnos.items():
        name = None if errno is None else errno_name(errno)
        share = 100 * failures / frame.view.failed
        of_kind = most[errno][1] if errno in most else None
        meaning = None if errno is None else os.strerror(errno)
        yield name, failures, frame.rate("errnos", errno, None), share, of_kind, meaning


def _who(counts: Counts) -> Row:
    return counts.failures, counts.requests, counts.blocked_ns


def _processes(frame: Picture) -> Iterable[Row]:
    for process, counts in frame.view.processes.items():
        made = (counts.sockets, frame.rate("processes", process), *_who(counts))
        if isinstance(process, Other):
            yield (OTHER, None, *made, None, None, None)
            continue
        facts = frame.view.facts[process]
        yield process.pid, process.comm, *made, whose(facts.cgroup), facts.uid, facts.ppid


def _groups(frame: Picture) -> Iterable[Row]:
    """Cgroups by owner: those of one container are one row."""
    groups: dict[Owner | Cgroup | Other, tuple[Counts, float | None]] = {}
    names: dict[Owner | Cgroup | Other, str | Other] = {}
    for cgroup, counts in frame.view.cgroups.items():
        # Not by the label, in which ids are cut short.
        owner = owner_of(cgroup).owner if isinstance(cgroup, str) else cgroup
        key = cgroup if owner == Owner() else owner
        names[key] = cgroup if isinstance(cgroup, Other) else whose(cgroup)
        before, rate_before = groups.get(key, (Counts(), 0.0))
        together = Counts._make([*map(sum, zip(before[:-1], counts[:-1], strict=True)),
                                 max(before.longest_ns, counts.longest_ns)])  # fmt: skip
        now = frame.rate("cgroups", cgroup)
        groups[key] = together, None if now is None or rate_before is None else now + rate_before
    for key, (counts, per_second) in groups.items():
        yield names[key], counts.sockets, per_second, *_who(counts), counts.longest_ns


def _modules(frame: Picture) -> Iterable[Row]:
    most: dict[str | None, tuple[int, ProcessKey]] = {}
    askers: dict[str | None, int] = {}
    for asker, requests in frame.view.askers.items():
        if not isinstance(asker, Other):
            one = requests.blocked_ns, ProcessKey(asker.pid, asker.comm)
            most[asker.module] = max(most.get(asker.module, one), one)
            askers[asker.module] = askers.get(asker.module, 0) + 1
    for module, requests in frame.view.modules.items():
        asked_by = None
        if not isinstance(module, Other) and module in most:
            process, others = most[module][1], askers[module] - 1
            asked_by = f"{process.comm} {process.pid}" + (f" and {others:,} more" if others else "")
        yield _module(module), *requests, asked_by


def _askers(frame: Picture) -> Iterable[Row]:
    for asker, requests in frame.view.askers.items():
        if isinstance(asker, Other):
            yield OTHER, None, None, *requests
        else:
            yield asker.pid, asker.comm, _module(asker.module), *requests


def _module(name: str | Other | None) -> str | Other:
    return "another name" if name is None else name


def whose(cgroup: Cgroup | None) -> str:
    """The owner of a cgroup in a few words; else its path, or its id if only that is known."""
    if not isinstance(cgroup, str):
        return "?" if cgroup is None else f"cgroup {cgroup}"
    return owner_of(cgroup).owner.label() or cgroup


def tables() -> Sequence[TableView]:
    """All tables, in order."""
    sockets, a_second, failed = Column("SOCKETS", count), Column("/S", rate), Column("FAILED", count)
    asked, blocked, longest = Column("MODULES", count), Column("BLOCKED", took), Column("LONGEST", took)
    p50, p99, top = Column("P50", took), Column("P99", took), Column("MAX", took)
    pid, comm = Column("PID", word), Column("COMM", word, number=False)
    module = Column("MODULE", word, number=False)
    requests = (Column("REQUESTS", count), failed, blocked, longest)
    return (
        TableView("functions", "Functions", "duration of each call of a traced kernel function",
              (Column("FUNCTION", word, number=False), Column("CALLS", count), a_second, p50, p99, top,
               Column("TOTAL", took)), 1, _functions),
        TableView("kinds", "Kinds", "kinds of socket that were requested, and their durations",
              (Column("FAMILY TYPE PROTOCOL", kind, number=False), sockets, a_second, failed, p50, p99, top, blocked),
              1, _kinds),
        TableView("errors", "Errors", "errnos of failed creations",
              (Column("ERRNO", word, number=False), failed, a_second,
               Column("SHARE", lambda share: f"{share:.3g}%"), Column("MOST OFTEN", _kind_or_none, number=False),
               Column("MEANING", word, number=False)), 1, _errnos),
        TableView("processes", "Processes", "who created sockets; MODULES requested, time BLOCKED by modprobe",
              (pid, comm, sockets, a_second, failed, asked, blocked, Column("WHO", word, number=False),
               Column("UID", word), Column("PPID", word)), 2, _processes),
        TableView("groups", "Containers", "containers, pods and systemd units that created sockets",
              (Column("WHO", word, number=False), sockets, a_second, failed, asked, blocked, longest), 1, _groups),
        TableView("modules", "Modules", "requested kernel modules",
              (module, *requests, Column("REQUESTED BY", word, number=False)), 3, _modules),
        TableView("waits", "Waits", "who waited for which module (the requesting process, not modprobe)",
              (pid, comm, module, *requests), 5, _askers),
    )  # fmt: skip
