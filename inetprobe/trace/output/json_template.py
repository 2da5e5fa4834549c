"""A batch as JSON lines, quickly: a line is worked out once for each shape, and filled in for each record.

What a line says is said elsewhere, by the function that gives a trace's fields; here is only which of them change from
record to record of one shape, and how those are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe.base import text
from inetprobe.base.words import second
from inetprobe.record.batch import Batch
from inetprobe.record.calls import Indices
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.shapes import grouped
from inetprobe.record.stacks import as_dict
from inetprobe.trace.call_trace import CallTrace, call_traces

#: Records whose lines are made at once: a few megabytes.
STEP = 2048
# Templates kept: past so many, whoever made the recording has made them up.
_MOST = STEP
_NS = 10**9

# What differs between records of one shape: how it is written, and the columns that it is written from.
_FORMATS = {
    "id": ('"%d-%d"', ("cpu", "seq")),
    "time": ('"%s.%09dZ"', ("second", "nanosecond")),
    "mono_ns": ("%d", ("start_ns",)),
    "comm": ("%s", ("comm",)),
    "cgroup": ("%s", ("cgroup",)),
    "stack": ("%s", ("stack",)),
    "netns": ("%s", ("netns",)),
    **{name: ("%d", (name,)) for name in ("pid", "tid", "ppid", "uid", "cpu")},
}
# A mark is a string that no name, sentence or module can be: it begins with a NUL.
_MARK = re.compile(r'"\\u0000([a-z_0-9.]+)"')


class _Template(NamedTuple):
    """A line to be filled in by ``%``, from these columns in this order."""

    line: str
    columns: tuple[str, ...]


class JsonLines:
    """Lines of JSON, each what ``json.dumps`` makes of ``fields(trace, run)``: all of one run."""

    def __init__(self, fields: Callable[[CallTrace, Run], dict[str, Any]]) -> None:
        self._fields = fields
        self._templates: dict[bytes, _Template] = {}

    def of(self, batch: NestedBatch, run: Run) -> Iterator[str]:
        """The lines of a batch, in its order, up to ``STEP`` of them in one text."""
        if not len(batch):
            return
        if len(batch.shapes.first) > _MOST:
            for start in range(0, len(batch), STEP):
                yield from self.of(batch.take(np.arange(start, min(start + STEP, len(batch)))), run)
            return
        templates = self._templates_of(batch, run)
        columns = _TemplateColumns(batch, run)
        for start in range(0, len(batch), STEP):
            yield "".join(_filled(templates, batch.shapes.group_of[start : start + STEP], start, columns))

    def _templates_of(self, batch: NestedBatch, run: Run) -> list[_Template]:
        keys = batch.shape_keys
        if len(self._templates) > _MOST:
            self._templates.clear()
        new = [shape for shape, key in enumerate(keys) if key not in self._templates]
        if new:
            for shape, trace in zip(new, call_traces(batch.distinct.take(np.array(new)), run), strict=True):
                self._templates[keys[shape]] = _template(self._fields(trace, run))
        return [self._templates[key] for key in keys]


def _template(fields: dict[str, Any]) -> _Template:
    calls = [
        {
            key: _mark(f"{place}.{key}") if key in _CALL_TIMES and value is not None else value
            for key, value in call.items()
        }
        for place, call in enumerate(fields["calls"])
    ]
    marked = {key: _mark(key) if key in _FORMATS else value for key, value in fields.items()}
    if fields.get("duration_ns") is not None:
        marked["duration_ns"] = _mark("0.duration_ns")
    said = json.dumps({**marked, "calls": calls}).replace("%", "%%")
    *pieces, last = _MARK.split(said)
    line = ""
    columns: list[str] = []
    for before, key in zip(pieces[::2], pieces[1::2], strict=True):
        form, sources = _FORMATS.get(key, ("%d", (key,)))
        line += before + form
        columns += sources
    return _Template(f"{line}{last}\n", tuple(columns))


_CALL_TIMES = ("start_ns", "duration_ns")


def _mark(key: str) -> str:
    return f"\0{key}"


def _filled(templates: list[_Template], of: Indices, start: int, columns: _TemplateColumns) -> tuple[str, ...]:
    """The lines of the records from ``start`` on whose templates are at the places ``of``."""
    order = np.argsort(of.astype(np.uint16) if len(templates) < 1 << 16 else of, kind="stable")
    sorted_columns: dict[str, list[Any]] = {}
    lines: list[str] = []
    ends = np.cumsum(np.bincount(of)).tolist()
    for template, begin, end in zip(templates, [0, *ends], ends, strict=False):
        if begin == end:
            continue
        for name in template.columns:
            if name not in sorted_columns:
                sorted_columns[name] = columns.taken(name, start + order)
        parts = [sorted_columns[name][begin:end] for name in template.columns]
        lines.extend(map(template.line.__mod__, zip(*parts, strict=True)))
    back = np.empty(len(order), np.intp)
    back[order] = np.arange(len(order))
    return itemgetter(*back.tolist())(lines) if len(lines) > 1 else (lines[0],)


class _TemplateColumns:
    """What templates are filled in with."""

    def __init__(self, batch: Batch, run: Run) -> None:
        self._batch = batch
        self._run = run
        self._known: dict[str, npt.NDArray[Any]] = {}

    def taken(self, name: str, rows: Indices) -> list[Any]:
        """The column's values of these records."""
        place, _, member = name.rpartition(".")
        if place:
            # A record without so many calls has another template, which does not ask for this one.
            calls = self._batch.calls
            where = np.minimum(calls.starts[rows] + int(place), len(calls.flags) - 1)
            return list(getattr(calls, member)[where].tolist())
        if name not in self._known:
            self._known[name] = self._column(name)
        taken: list[Any] = self._known[name][rows].tolist()
        return ["null" if value == 0 else value for value in taken] if name == "netns" else taken

    def _column(self, name: str) -> npt.NDArray[Any]:
        batch = self._batch
        if name in ("second", "nanosecond"):
            self._known["second"], self._known["nanosecond"] = _when(
                batch.column("start_ns"), self._run.clock_offset_ns
            )
            return self._known[name]
        if name == "comm":
            names = batch.names(name)
            return _objects([json.dumps(text.until_nul(raw)) for raw in names.values.tolist()], names.places)
        if name == "cgroup":
            return _looked_up(batch.column("cgroup_id"), self._run.cgroups.get)
        if name == "stack":
            return _looked_up(batch.column("stack"), lambda number: as_dict(self._run.stacks.get(number)))
        return batch.column(name)


def _when(start_ns: npt.NDArray[np.uint64], offset_ns: int) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Starts on the clock of the recording as text up to the second, and nanoseconds; their sum may have 65 bits."""
    seconds, ns = (part.astype(np.int64) for part in np.divmod(start_ns, np.uint64(_NS)))
    ns += offset_ns % _NS
    seconds += offset_ns // _NS + (ns >= _NS)
    ns -= _NS * (ns >= _NS)
    groups = grouped(seconds)
    return _objects([second(value) for value in seconds[groups.first].tolist()], groups.group_of), ns


def _looked_up(column: npt.NDArray[np.uint64], said: Callable[[int], Any]) -> npt.NDArray[np.object_]:
    """JSON of what each of the column's numbers stands for."""
    groups = grouped(column)
    return _objects([json.dumps(said(number)) for number in column[groups.first].tolist()], groups.group_of)


def _objects(values: list[str], places: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    made = np.empty(len(values), object)
    made[:] = values
    taken: npt.NDArray[np.object_] = made[places]
    return taken
