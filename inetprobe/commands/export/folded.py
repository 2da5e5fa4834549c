"""Folded stacks by time, for flamegraph.pl, speedscope, inferno and others.

One line per distinct stack, the outermost frame first: ``python3;inet_create;sk_alloc 12345``, where the number is the
self time in nanoseconds. With --stack, the callers of inet_create come before it. Memory grows with the number of
distinct stacks, not with the recording.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.errors import UsageError
from inetprobe.base.files import WholeFile
from inetprobe.base.text import printable
from inetprobe.commands.export.formats import ExportOptions
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.self_time import self_times
from inetprobe.trace.call_trace import Call, CallTrace, call_traces

#: The possible roots of a stack: the record field that determines it, and its text.
ROOTS: dict[str, tuple[str, Callable[[CallTrace], str | None]]] = {
    "comm": ("comm", lambda trace: trace.comm),
    "pid": ("pid", lambda trace: f"{trace.comm} {trace.pid}"),
    "cgroup": ("cgroup_id", lambda trace: trace.cgroup),
    "container": ("cgroup_id", lambda trace: owner_of(trace.cgroup).container),
    "pod": ("cgroup_id", lambda trace: owner_of(trace.cgroup).pod),
    "unit": ("cgroup_id", lambda trace: owner_of(trace.cgroup).unit),
}


class FoldedExport:
    """A sink that sums the self times of a run by stack."""

    def __init__(self, output: WholeFile, by: str) -> None:
        self._output = output
        self._field, self._root = ROOTS[by]
        self._also = ("comm", "stack") if self._field == "comm" else ("comm", "stack", self._field)
        self._stacks: dict[str, int] = {}

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Adds the self times of a batch to its stacks."""
        if not len(batch):
            return
        first, groups, _ = batch.shapes_by(*self._also)
        own = np.maximum(self_times(batch.calls), 0)  # a call whose return was not seen has no self time
        if int(own.max()) * len(own) >= 1 << 63:
            own = own.astype(object)  # a crafted recording: exact sums need Python integers
        order = groups.argsort(kind="stable")
        bounds = [*groups[order].searchsorted(range(len(first))), len(order)]
        for group, trace in enumerate(call_traces(batch.take(first), run)):
            starts = batch.calls.starts[order[bounds[group] : bounds[group + 1]]]
            times = own[starts[:, None] + np.arange(len(trace.calls))].sum(axis=0).tolist()
            self._add(trace, times)

    def summary(self, accounting: Accounting) -> None:
        """Writes all stacks, and puts the output into place."""
        with self._output.writing():
            for stack in sorted(self._stacks):
                self._output.file.write(f"{stack} {self._stacks[stack]}\n".encode())
        self._output.finish()

    def cut_short(self, accounting: Accounting, problem: str) -> None:
        """Writes what was read; folded stacks have no place for the problem."""
        self.summary(accounting)

    def discard(self) -> None:
        """Leaves nothing of the output."""
        self._output.discard()

    def _add(self, trace: CallTrace, times: list[int]) -> None:
        callers = [] if trace.stack is None else trace.stack.callers()
        stack = [_frame(self._root(trace) or "(none)"), *map(_frame, callers)]
        for call, time in zip(trace.calls, times, strict=True):
            del stack[call.depth + 1 + len(callers) :]
            stack.append(_frame(_called(call)))
            if time:
                line = ";".join(stack)
                self._stacks[line] = self._stacks.get(line, 0) + time


def _called(call: Call) -> str:
    return call.function if call.module is None else f"{call.function}({call.module})"


def _frame(name: str) -> str:
    """``name`` without characters that would end its frame or its line."""
    return printable(name).replace(";", r"\x3b").strip() or "(none)"


def open_export(run: Run, options: ExportOptions) -> FoldedExport:
    """See inetprobe.commands.export.formats. Raises UsageError for an unknown root."""
    if options.by not in ROOTS:
        raise UsageError(f"--by {options.by}: give one of {', '.join(ROOTS)}")
    return FoldedExport(WholeFile("export", options.output), options.by)
