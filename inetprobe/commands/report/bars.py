"""One trace as nested bars: when each call ran within the socket's time, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from inetprobe.base import words
from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.uapi import result_text
from inetprobe.commands.report.gather import Recording
from inetprobe.model.explanation import Explanation
from inetprobe.trace.call_trace import Call, CallTrace, request, self_times
from inetprobe.trace.verdict import judge


@dataclass(frozen=True, slots=True)
class Bar:
    """One call. ``left`` and ``width`` are per cent of the trace's time; ``own_ns`` is the self time."""

    call: Call
    left: float
    width: float
    own_ns: int | None
    result: str
    bad: bool


@dataclass(frozen=True, slots=True)
class ShownTrace:
    """A trace with all that the page shows of it."""

    trace: CallTrace
    request: str
    outcome: str
    bad: bool
    time: str
    verdict: str
    why: Explanation
    label: str | None
    recording: str
    bars: tuple[Bar, ...]


def shown(trace: CallTrace, recording: Recording) -> ShownTrace:
    """``trace`` as the page shows it."""
    verdict = judge(trace, recording.run.profile)
    return ShownTrace(
        trace=trace,
        request=request(trace),
        outcome=trace.errno or ("NULL" if trace.outcome == "failed" else trace.outcome),
        bad=trace.outcome == "failed",
        time=words.clock(trace.start_ns + recording.run.clock_offset_ns),
        verdict=verdict.verdict,
        why=verdict.why,
        label=owner_of(trace.cgroup).label(),
        recording=recording.name,
        bars=tuple(_bars(trace)),
    )


def _bars(trace: CallTrace) -> list[Bar]:
    # If the return of the outermost call was not seen, up to the last event that was.
    whole = trace.duration_ns or max(call.start_ns + (call.duration_ns or 0) for call in trace.calls) or 1
    bars = []
    for call, own in zip(trace.calls, self_times(trace.calls), strict=True):
        left = min(100.0, call.start_ns / whole * 100)
        width = 100 - left if call.duration_ns is None else min(100 - left, call.duration_ns / whole * 100)
        failed = call.pointer == "NULL" or (call.result is not None and call.result != 0)
        bars.append(Bar(call, round(left, 2), round(width, 2), own, _result(call), failed))
    return bars


def _result(call: Call) -> str:
    result = result_text(call.result, call.pointer, returned=call.duration_ns is not None)
    if call.module is None or call.result is None or call.result < 0:
        return result
    return f"{result}, found" if call.result == 0 else f"{result}, not found"
