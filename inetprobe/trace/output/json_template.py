"""A batch as JSON lines, quickly: a line is made once per shape, as a template that is filled in for each record.

The fields of a line come from a function outside of this module, which only knows the fields that differ between
records of one shape, and how they are written. The template of a TCP socket is (on one line, and shortened)::

    {"v": 1, "kind": "trace", "id": "%d-%d", "time": "%s.%09dZ", "mono_ns": %d, "pid": %d, …, "comm": %s, …,
     "family": 2, "family_name": "AF_INET", …, "prot": "TCP", "errno": null, "duration_ns": %d, "verdict": "ok", …,
     "calls": [{"function": "inet_create", "depth": 0, "start_ns": %d, "duration_ns": %d, "result": 0}, …]}

Its columns are ``cpu, seq, second, nanosecond, start_ns, pid, …, comm, …, 0.duration_ns, 0.start_ns, 0.duration_ns,
…``, where ``0.`` stands for the first call. Filled in, it becomes the line of a record::

    {"v": 1, "kind": "trace", "id": "1-7", "time": "2023-11-14T22:13:21.000000000Z", "mono_ns": 1000000000, …
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
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

#: Records whose lines are made at once, a few megabytes.
STEP = 2048
# Templates kept, more than any real run needs (see inetprobe.record).
_MAX_TEMPLATES = STEP
_NS = 10**9

# The fields that differ between records of one shape: how each is written, and from which columns.
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
# A mark stands for a field to be filled in: it begins with a NUL, as no name, sentence or module does.
_MARK = re.compile(r'"\\u0000([a-z_0-9.]+)"')


class _Template(NamedTuple):
    """A line to be filled in by ``%`` with these columns, in this order."""

    line: str
    columns: tuple[str, ...]


class JsonLines:
    """Lines of JSON, each equal to ``json.dumps(fields(trace, run))``, of the batches of one run."""

    def __init__(self, fields: Callable[[CallTrace, Run], dict[str, Any]]) -> None:
        self._fields = fields
        self._templates: dict[bytes, _Template] = {}

    def of(self, batch: NestedBatch, run: Run) -> Iterator[str]:
        """The lines of a batch, in its order, up to ``STEP`` of them in one text."""
        if not len(batch):
            return
        if len(batch.shapes.first) > _MAX_TEMPLATES:
            for start in range(0, len(batch), STEP):
                yield from self.of(batch.take(np.arange(start, min(start + STEP, len(batch)))), run)
            return
        templates = self._templates_of(batch, run)
        columns = _TemplateColumns(batch, run)
        for start in range(0, len(batch), STEP):
            yield "".join(_filled(templates, batch.shapes.group_of[start : start + STEP], start, columns))

    def _templates_of(self, batch: NestedBatch, run: Run) -> list[_Template]:
        keys = batch.shape_keys
        if len(self._templates) > _MAX_TEMPLATES:
            self._templates.clear()
        new = [shape for shape, key in enumerate(keys) if key not in self._templates]
        if new:
            for shape, trace in zip(new, call_traces(batch.distinct.take(np.array(new)), run), strict=True):
                self._templates[keys[shape]] = _template(self._fields(trace, run))
        return [self._templates[key] for key in keys]


def _template(fields: dict[str, Any]) -> _Template:
    calls = [
        {
            key: _mark(f"{index}.{key}") if key in _CALL_TIMES and value is not None else value
            for key, value in call.items()
        }
        for index, call in enumerate(fields["calls"])
    ]
    if has_descriptor(fields):
        calls[0]["result"] = _mark("descriptor")
    marked = {key: _mark(key) if key in _FORMATS else value for key, value in fields.items()}
    if fields.get("duration_ns") is not None:
        marked["duration_ns"] = _mark("0.duration_ns")
    *pieces, last = _MARK.split(json.dumps({**marked, "calls": calls}).replace("%", "%%"))
    line = ""
    columns: list[str] = []
    for before, key in zip(pieces[::2], pieces[1::2], strict=True):
        form, sources = _FORMATS.get(key, ("%d", (key,)))
        line += before + form
        columns += sources
    return _Template(f"{line}{last}\n", tuple(columns))


def has_descriptor(fields: Mapping[str, Any]) -> bool:
    """Is the outermost call's result a descriptor? It differs between records of one shape."""
    return (fields["syscall"], fields["outcome"]) == ("socket", "ok")


_CALL_TIMES = ("start_ns", "duration_ns")


def _mark(key: str) -> str:
    return f"\0{key}"


def _filled(templates: list[_Template], shape_of: Indices, start: int, columns: _TemplateColumns) -> tuple[str, ...]:
    """The lines of the records from ``start`` on, whose shapes, and so their templates, are ``shape_of``."""
    order = np.argsort(shape_of.astype(np.uint16) if len(templates) < 1 << 16 else shape_of, kind="stable")
    sorted_columns: dict[str, list[Any]] = {}
    lines: list[str] = []
    ends = np.cumsum(np.bincount(shape_of)).tolist()
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
    """The columns that templates are filled in with, each made when it is first asked for."""

    def __init__(self, batch: Batch, run: Run) -> None:
        self._batch = batch
        self._run = run
        self._known: dict[str, npt.NDArray[Any]] = {}

    def taken(self, name: str, rows: Indices) -> list[Any]:
        """The values of a column for these records."""
        slot, _, member = name.rpartition(".")
        if slot:
            # A record with fewer calls has another template, which does not use this column: any value will do.
            calls = self._batch.calls
            indices = np.minimum(calls.starts[rows] + int(slot), len(calls.flags) - 1)
            return list(getattr(calls, member)[indices].tolist())
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
            return _objects([json.dumps(text.until_nul(raw)) for raw in names.values.tolist()], names.indices)
        if name == "cgroup":
            return _looked_up(batch.column("cgroup_id"), self._run.cgroups.get)
        if name == "stack":
            return _looked_up(batch.column("stack"), lambda number: as_dict(self._run.stacks.get(number)))
        return batch.column(name)


def _when(start_ns: npt.NDArray[np.uint64], offset_ns: int) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Starts in UTC: the text up to the second, and the nanoseconds. The sum of both arguments may have 65 bits."""
    seconds, ns = (part.astype(np.int64) for part in np.divmod(start_ns, np.uint64(_NS)))
    ns += offset_ns % _NS
    seconds += offset_ns // _NS + (ns >= _NS)
    ns -= _NS * (ns >= _NS)
    groups = grouped(seconds)
    return _objects([second(value) for value in seconds[groups.first].tolist()], groups.group_of), ns


def _looked_up(column: npt.NDArray[np.uint64], value_of: Callable[[int], Any]) -> npt.NDArray[np.object_]:
    """The JSON of what each number in the column stands for."""
    groups = grouped(column)
    return _objects([json.dumps(value_of(number)) for number in column[groups.first].tolist()], groups.group_of)


def _objects(values: list[str], indices: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    objects = np.empty(len(values), object)
    objects[:] = values
    taken: npt.NDArray[np.object_] = objects[indices]
    return taken
