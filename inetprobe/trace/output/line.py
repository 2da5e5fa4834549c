"""``--format line``: a header, then one aligned line per socket."""

from __future__ import annotations

from typing import TextIO

from inetprobe.base import words
from inetprobe.base.text import printable
from inetprobe.base.uapi import FAMILIES, TYPES, protocols_of
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import CallTrace, call_traces
from inetprobe.trace.output import Style


class LineSink:
    """One line per socket, under 80 columns unless a name is long."""

    def __init__(self, out: TextIO, style: Style) -> None:
        self._out = out
        self._stable = style.stable
        self._headed = False

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Writes the losses and the lines of a batch; first of all, the header."""
        if not self._headed:
            self._headed = True
            when = "" if self._stable else f"{'TIME':<15} {'PID':>7} "
            self._out.write(f"{when}{'COMM':<15} {'FAM':<6} {'TYPE':<6} {'PROTO':<7} MOD ")
            self._out.write("RESULT\n" if self._stable else f"{'DURATION':>8} RESULT\n")
        for loss in batch.losses:
            self._out.write(f"# lost {loss.count}: {loss.reason}\n")
        self._out.writelines(self._line(trace, run) for trace in call_traces(batch, run))
        self._out.flush()

    def summary(self, accounting: Accounting) -> None:
        """Writes nothing: the summary line goes to stderr, from the command."""

    def _line(self, trace: CallTrace, run: Run) -> str:
        number, type_, protocol = trace.request
        family = words.name(FAMILIES, number).removeprefix("AF_")
        kind = words.name(TYPES, type_).removeprefix("SOCK_")
        name = words.name(protocols_of(number), protocol).removeprefix("IPPROTO_")
        modules = sum(call.function == "__request_module" for call in trace.calls)
        outcome = trace.incomplete or trace.errno or trace.outcome
        socket = f"{printable(trace.comm):<15} {family:<6} {kind:<6.6} {name:<7} {modules or '-':>3} "
        if self._stable:
            return f"{socket}{outcome}\n"
        when = f"{words.clock(trace.start_ns + run.clock_offset_ns)} {trace.pid:>7} "
        return f"{when}{socket}{words.duration(trace.duration_ns):>8} {outcome}\n"
