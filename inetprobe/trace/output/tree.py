"""``--format tree``: a block per socket, with its calls nested."""

from __future__ import annotations

from typing import TextIO

from inetprobe.base import words
from inetprobe.base.text import printable
from inetprobe.base.uapi import result_text
from inetprobe.base.words import tree_branches
from inetprobe.model.judge import AS_PREDICTED
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.stacks import Side, Stack
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.output import Style
from inetprobe.trace.verdict import judge


class TreeSink:
    """Call traces for people."""

    def __init__(self, out: TextIO, style: Style) -> None:
        self._out = out
        self._style = style

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Writes the losses and the blocks of a batch."""
        for loss in batch.losses:
            self._out.write(self._style.paint("red", f"lost {loss.count} sockets: {loss.reason}") + "\n\n")
        for trace in call_traces(batch, run):
            self._out.write("\n".join(self._block(trace, run)) + "\n\n")
        self._out.flush()

    def summary(self, accounting: Accounting) -> None:
        """Writes nothing: the summary line goes to stderr, from the command."""

    def _block(self, trace: CallTrace, run: Run) -> list[str]:
        head = f"{request(trace)} "
        lines = [self._style.paint("bold", head) + self._style.paint(*_outcome(trace))]
        comm = printable(trace.comm)
        if self._style.stable:
            lines.append(self._style.paint("dim", f"  {comm} uid {trace.uid}"))
        else:
            when = words.clock(trace.start_ns + run.clock_offset_ns)
            lines.append(self._style.paint("dim", f"  {when} {comm} pid {trace.pid} uid {trace.uid}"))
        lines[-1] += self._style.paint("dim", f" prot {printable(trace.prot)}") if trace.prot else ""
        lines += [self._call(trace, index) for index in range(len(trace.calls))]
        if trace.sock is not None:
            fields = " ".join(f"{name}={value}" for name, value in trace.sock.known().items())
            lines.append(self._style.paint("dim", f"  sock: {fields}"))
        lines += [self._style.paint("dim", line) for line in stack_lines(trace.stack)]
        verdict = judge(trace, run.profile)
        if verdict.verdict != AS_PREDICTED:
            lines.append(self._style.paint("yellow", f"  {verdict.verdict}: {printable(verdict.why.reason)}"))
        elif trace.outcome == "failed":
            lines += [f"  {printable(line)}" for line in verdict.why.lines()]
        return lines

    def _call(self, trace: CallTrace, index: int) -> str:
        call = trace.calls[index]
        depths = [call.depth for call in trace.calls]
        text = f"  {tree_branches(depths, index)}{call.function}({call.module or ''})"
        took = "" if self._style.stable else words.duration(call.duration_ns)
        result = result_text(call.result, call.pointer, returned=call.duration_ns is not None)
        line = f"{text:<62} {took:>7}  {result}".rstrip()
        is_descriptor = index == 0 and trace.asked is not None and trace.outcome == "ok"
        failed = call.pointer == "NULL" or (call.result not in (None, 0) and not is_descriptor)
        return self._style.paint("yellow", line) if failed else line


def _outcome(trace: CallTrace) -> tuple[str, str]:
    """Colour and text."""
    if trace.outcome == "unknown":
        return "yellow", "= ?"
    if trace.outcome == "failed":
        return "red", f"= -1 {trace.errno}" if trace.errno else "= NULL"
    return "green", "= ok"


def stack_lines(stack: Stack | None) -> list[str]:
    """Both sides of a stack, a line per frame, the innermost first."""
    if stack is None:
        return []
    return [*_side_lines("kernel", stack.kernel), *_side_lines("user", stack.user)]


def _side_lines(name: str, side: Side | None) -> list[str]:
    if side is None:
        return []
    note = f" [{printable(side.lost)}]" if side.lost else "" if side.frames else " none"
    return [f"  {name} stack:{note}", *(f"    {printable(frame)}" for frame in side.frames)]
