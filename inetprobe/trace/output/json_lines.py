"""``--format json``: one object per line, with the contract's keys in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from inetprobe.base.uapi import FAMILIES, TYPES, protocols_of
from inetprobe.base.words import rfc3339
from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.stacks import as_dict
from inetprobe.trace.call_trace import Call, CallTrace
from inetprobe.trace.output import Style
from inetprobe.trace.output.json_template import JsonLines
from inetprobe.trace.verdict import judge

# The keys that differ between two runs of the same workload, which --stable leaves out.
_UNSTABLE = frozenset(
    {"id", "time", "mono_ns", "pid", "tid", "ppid", "cgroup", "netns", "cpu", "duration_ns", "start_ns"}
)


class Out(Protocol):
    """The part of a text file that the sink uses."""

    def write(self, text: str, /) -> object:
        """Writes whole lines."""

    def flush(self) -> None:
        """Shows them."""


class JsonSink:
    """JSON lines, of which the last is the summary."""

    def __init__(self, out: Out, style: Style) -> None:
        self._out = out
        self._lines = JsonLines(_stable if style.stable else to_dict)

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Writes a line per loss and per trace."""
        for loss in batch.losses:
            self._out.write(json.dumps({"v": 1, "kind": "lost", "reason": loss.reason, "count": loss.count}) + "\n")
        for lines in self._lines.of(batch, run):
            self._out.write(lines)
        self._out.flush()

    def summary(self, accounting: Accounting) -> None:
        """Writes the line that ends a run."""
        self._out.write(json.dumps({"v": 1, "kind": "summary", **accounting.to_dict()}) + "\n")
        self._out.flush()


def to_dict(trace: CallTrace, run: Run) -> dict[str, Any]:
    """A trace as an object with the contract's keys."""
    verdict = judge(trace, run.profile)
    family, type_, protocol = trace.request
    return {
        "v": 1,
        "kind": "trace",
        "id": trace.id,
        "time": rfc3339(trace.start_ns + run.clock_offset_ns),
        "mono_ns": trace.start_ns,
        "pid": trace.pid,
        "tid": trace.tid,
        "ppid": trace.ppid,
        "uid": trace.uid,
        "comm": trace.comm,
        "cgroup": trace.cgroup,
        "netns": trace.netns,
        "cpu": trace.cpu,
        "syscall": trace.asked.syscall if trace.asked else None,
        "family": family,
        "family_name": FAMILIES.get(family),
        "type": type_,
        "type_name": _name(TYPES, type_),
        "protocol": protocol,
        "protocol_name": _name(protocols_of(family), protocol),
        "kernel_socket": trace.kernel_socket,
        **({"context": "softirq"} if trace.softirq else {}),
        "prot": trace.prot,
        "outcome": trace.outcome,
        "errno": trace.errno,
        "stage": verdict.stage,
        "duration_ns": trace.duration_ns,
        "verdict": verdict.verdict,
        "rule": verdict.rule,
        **verdict.why.to_dict(),
        "complete": trace.incomplete is None,
        "calls": [_call_dict(call) for call in trace.calls],
        **({"sock": None if trace.sock is None else trace.sock.known()} if run.sock else {}),
        **({"stack": as_dict(trace.stack)} if run.stack else {}),
    }


def _name(names: Mapping[int, str], number: int | None) -> str | None:
    return None if number is None else names.get(number)


def _call_dict(call: Call) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "function": call.function,
        "depth": call.depth,
        "start_ns": call.start_ns,
        "duration_ns": call.duration_ns,
        "result": call.result,
    }
    if call.pointer is not None:
        fields["pointer"] = call.pointer
    if call.function == "__request_module":
        fields["module"] = call.module
    return fields


def _stable(trace: CallTrace, run: Run) -> dict[str, Any]:
    fields = to_dict(trace, run)
    kept = {key: value for key, value in fields.items() if key not in _UNSTABLE}
    kept["calls"] = [{k: v for k, v in call.items() if k not in _UNSTABLE} for call in fields["calls"]]
    return kept
