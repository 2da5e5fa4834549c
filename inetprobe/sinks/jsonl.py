"""``--format json``: one object a line, in the contract's keys and order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from inetprobe.model.judge import Verdict
from inetprobe.model.sock import Sock
from inetprobe.names import FAMILIES, PROTOCOLS, TYPES
from inetprobe.record import Batch
from inetprobe.run import Accounting, Run
from inetprobe.sinks import Style
from inetprobe.trace import Call, CallTrace, call_traces
from inetprobe.verdict import judge

# What differs between two runs of the same workload, left out by --stable.
_UNSTABLE = frozenset(
    {"id", "time", "mono_ns", "pid", "tid", "ppid", "cgroup", "netns", "cpu", "duration_ns", "start_ns"}
)


class JsonSink:
    """The contract's JSON lines; the last is the summary."""

    def __init__(self, out: TextIO, style: Style) -> None:
        self._out = out
        self._stable = style.stable

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink."""
        for loss in batch.losses:
            self._out.write(json.dumps({"v": 1, "kind": "lost", "reason": loss.reason, "count": loss.count}) + "\n")
        if self._stable:
            self._out.writelines(json.dumps(_stable(to_dict(trace, run))) + "\n" for trace in call_traces(batch, run))
        else:
            self._out.writelines([_line(trace, run) for trace in call_traces(batch, run)])
        self._out.flush()

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""
        self._out.write(json.dumps({"v": 1, "kind": "summary", **accounting.to_dict()}) + "\n")
        self._out.flush()


def to_dict(trace: CallTrace, run: Run) -> dict[str, Any]:
    """A trace as the contract has it."""
    verdict = judge(trace, run.profile)
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
        "family": trace.family,
        "family_name": FAMILIES.get(trace.family),
        "type": trace.type,
        "type_name": _name(TYPES, trace.type),
        "protocol": trace.protocol,
        "protocol_name": _name(PROTOCOLS, trace.protocol),
        "kernel_socket": trace.kernel_socket,
        **({"context": "softirq"} if trace.softirq else {}),
        "prot": trace.prot,
        "errno": trace.errno,
        "duration_ns": trace.duration_ns,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "complete": trace.incomplete is None,
        "calls": [_call_dict(call) for call in trace.calls],
        **({"sock": None if trace.sock is None else trace.sock.known()} if run.sock else {}),
    }


def _name(names: Mapping[int, str], number: int | None) -> str | None:
    return None if number is None else names.get(number)


def rfc3339(ns: int) -> str:
    """UTC with nine digits, of nanoseconds since the epoch."""
    return f"{_second(ns // 10**9)}.{ns % 10**9:09}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


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


def _stable(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in fields.items() if key not in _UNSTABLE}
    kept["calls"] = [{k: v for k, v in call.items() if k not in _UNSTABLE} for call in fields["calls"]]
    return kept


# The same line as json.dumps(to_dict(…)), put together by hand for speed; a test compares them.
def _line(trace: CallTrace, run: Run) -> str:
    return (
        f'{{"v": 1, "kind": "trace", "id": "{trace.id}", "time": "{rfc3339(trace.start_ns + run.clock_offset_ns)}", '
        f'"mono_ns": {trace.start_ns}, "pid": {trace.pid}, "tid": {trace.tid}, "ppid": {trace.ppid}, '
        f'"uid": {trace.uid}, "comm": {_json(trace.comm)}, "cgroup": {_json(trace.cgroup)}, '
        f'"netns": {_number(trace.netns)}, "cpu": {trace.cpu}, '
        f"{_request(trace.family, trace.type, trace.protocol, trace.kernel_socket, trace.softirq)}, "
        f'"prot": {_json(trace.prot)}, "errno": {_json(trace.errno)}, "duration_ns": {_number(trace.duration_ns)}, '
        f"{_outcome(judge(trace, run.profile), trace.incomplete is None)}, "
        f'"calls": [{", ".join(map(_call, trace.calls))}]{_sock(trace.sock) if run.sock else ""}}}\n'
    )


@lru_cache(maxsize=4096)
def _sock(sock: Sock | None) -> str:
    return f', "sock": {json.dumps(None if sock is None else sock.known())}'


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _call(call: Call) -> str:
    head, tail = _call_parts(call.function, call.depth, call.result, call.pointer, call.module)
    return f'{head}{call.start_ns}, "duration_ns": {_number(call.duration_ns)}{tail}'


@lru_cache(maxsize=8192)
def _call_parts(
    function: str, depth: int, result: int | None, pointer: str | None, module: str | None
) -> tuple[str, str]:
    tail = f', "result": {_json(result)}'
    if pointer is not None:
        tail += f', "pointer": {_json(pointer)}'
    if function == "__request_module":
        tail += f', "module": {_json(module)}'
    return f'{{"function": {_json(function)}, "depth": {depth}, "start_ns": ', tail + "}"


@lru_cache(maxsize=4096)
def _request(family: int, kind: int | None, protocol: int | None, kernel_socket: bool, softirq: bool) -> str:
    return (
        f'"family": {family}, "family_name": {_json(FAMILIES.get(family))}, "type": {_number(kind)}, '
        f'"type_name": {_json(_name(TYPES, kind))}, "protocol": {_number(protocol)}, '
        f'"protocol_name": {_json(_name(PROTOCOLS, protocol))}, "kernel_socket": {_json(kernel_socket)}'
        + (', "context": "softirq"' if softirq else "")
    )


@lru_cache(maxsize=8192)
def _outcome(verdict: Verdict, complete: bool) -> str:
    said = f'"verdict": {_json(verdict.verdict)}, "reason": {_json(verdict.reason)}'
    return f'{said}, "complete": {_json(complete)}'


# typed, since True and 1 are one key otherwise.
@lru_cache(maxsize=8192, typed=True)
def _json(value: str | int | None) -> str:
    return json.dumps(value)
