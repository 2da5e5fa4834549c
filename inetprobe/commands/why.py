"""``inetprobe why``: each distinct call of socket(2) that failed, once, with its reason."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TextIO

import click

from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.text import printable
from inetprobe.base.words import counted
from inetprobe.cli.live import LiveRun, live_options, run_live
from inetprobe.cli.options import COMMAND_LAST, Filtering, filter_options
from inetprobe.cli.terminal import lenient_stdout
from inetprobe.kernel.process_reader import ProcessReader
from inetprobe.kernel.program.also import LSM
from inetprobe.model.explanation import Explanation
from inetprobe.model.fix import Fix
from inetprobe.model.judge import Verdict
from inetprobe.model.rules import Rule
from inetprobe.model.seccomp_reason import whose_filter
from inetprobe.record.accounting import Accounting
from inetprobe.record.measures import failed
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import CallTrace, call_traces, request
from inetprobe.trace.verdict import judge

# What strangers can make us keep: distinct calls, and processes of each.
_MOST_CALLS, _MOST_WHO, _MOST_HELD = 1000, 5, 100


@click.command("why", cls=Filtering, context_settings=COMMAND_LAST)
@filter_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@live_options
def why_command(form: str, live: LiveRun) -> None:
    """Say why socket() and socketpair() fail: run COMMAND, then print each distinct call that failed, once.

    While all goes well it says nothing. Without COMMAND it watches the whole machine, or what the filters select, until
    Ctrl-C or --duration. With COMMAND the text goes to stderr, since stdout is COMMAND's; JSON goes to stdout. The exit
    status is COMMAND's.

    \b
    Examples:
      inetprobe why -- ping -c 1 127.0.0.1
      inetprobe why --duration 60s --format json
    """
    filters = replace(live.options.filters, failed=True)
    options = replace(live.options, filters=filters, also=(*live.options.also, LSM))
    live = replace(live, options=options, brief=True)
    lenient_stdout()
    out = sys.stderr if live.command and form == "text" else sys.stdout
    with contextlib.closing(ProcessReader()) as reader:
        run_live(live, lambda run, file: [WhySink(out, form, reader.held_by)])


class Who(NamedTuple):
    """A process that made the call; ``unit`` is its systemd unit, None where that is not known."""

    pid: int
    comm: str
    unit: str | None


class FailedCall(NamedTuple):
    """A call that failed and why: equal for all that failed alike."""

    call: str
    family: int
    type: int | None
    protocol: int | None
    errno: str | None
    verdict: Verdict


@dataclass(slots=True)
class Callers:
    """How often a call failed, and the first few processes that made it, with what is to be said of them; ``more``
    others were not kept."""

    count: int = 0
    who: dict[Who, None] = field(default_factory=dict)
    more: int = 0
    evidence: dict[str, None] = field(default_factory=dict)
    fix: dict[Fix, None] = field(default_factory=dict)


class WhySink:
    """Keeps each distinct failing call, and prints them all at the end, the most frequent first."""

    def __init__(self, out: TextIO, form: str, held_by: Callable[[int], str]) -> None:
        """``held_by`` says which descriptors a process holds now."""
        self._out = out
        self._form = form
        self._held_by = held_by
        self._held: dict[int, str] = {}
        self._calls: dict[FailedCall, Callers] = {}
        self._beyond = 0

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Adds the calls that failed."""
        failures = batch.take(failed(batch.records).nonzero()[0])
        if not len(failures):
            return
        alike = failures.shapes_by("pid", "comm", "cgroup_id")
        traces = call_traces(failures.take(alike.first), run)
        for trace, count in zip(traces, alike.counts.tolist(), strict=True):
            self._add(trace, count, run)

    def summary(self, accounting: Accounting) -> None:
        """Prints them."""
        show = _as_json if self._form == "json" else _as_text
        for failure, callers in sorted(self._calls.items(), key=lambda item: -item[1].count):
            self._out.write(show(failure, callers))
        if self._beyond and self._form == "json":
            self._out.write(json.dumps({"v": 1, "kind": "lost", "reason": "too_many", "count": self._beyond}) + "\n")
        elif self._beyond:
            self._out.write(
                f"{counted(self._beyond, 'call')} failed in other ways: only the first {_MOST_CALLS:,} are kept apart\n"
            )
        self._out.flush()

    def _add(self, trace: CallTrace, count: int, run: Run) -> None:
        failure = FailedCall(request(trace), *trace.request, trace.errno, judge(trace, run.profile))
        callers = self._calls.get(failure)
        if callers is None:
            if len(self._calls) >= _MOST_CALLS:
                self._beyond += count
                return
            callers = self._calls[failure] = Callers()
        callers.count += count
        who = Who(trace.pid, trace.comm, owner_of(trace.cgroup).unit)
        if who in callers.who:
            return
        if len(callers.who) >= _MOST_WHO:
            callers.more += count
            return
        callers.who[who] = None
        if failure.verdict.rule is Rule.DESCRIPTOR_LIMIT:
            callers.evidence[self._held_now(trace.pid)] = None
        elif failure.verdict.rule is Rule.SECCOMP:
            whose, fix = whose_filter(trace.errno, owner_of(trace.cgroup))
            callers.evidence[whose] = callers.fix[fix] = None

    def _held_now(self, pid: int) -> str:
        if pid not in self._held and len(self._held) < _MOST_HELD:
            self._held[pid] = self._held_by(pid)
        return self._held.get(pid, f"the descriptors of process {pid} were not counted, after {_MOST_HELD} others")


def _whole(failure: FailedCall, callers: Callers) -> Explanation:
    why = failure.verdict.why
    return why._replace(evidence=(*why.evidence, *callers.evidence), fix=(*why.fix, *callers.fix))


def _as_text(failure: FailedCall, callers: Callers) -> str:
    times = f"  ({callers.count:,} times)" if callers.count > 1 else ""
    names = [
        f"{printable(who.comm)} pid {who.pid}" + (f" of {printable(who.unit)}" if who.unit else "")
        for who in callers.who
    ]
    others = f", and {counted(callers.more, 'call')} by others" if callers.more else ""
    why = _whole(failure, callers)
    lines = (
        f"{failure.call} = {f'-1 {failure.errno}' if failure.errno else 'NULL'}{times}",
        f"  by {', '.join(names)}{others}",
        *(f"  {printable(line)}" for line in why.lines()),
    )
    return "\n".join(lines) + "\n\n"


def _as_json(failure: FailedCall, callers: Callers) -> str:
    """With the contract's keys in their order."""
    verdict = failure.verdict
    fields = {
        "v": 1,
        "kind": "why",
        "call": failure.call,
        "count": callers.count,
        "family": failure.family,
        "type": failure.type,
        "protocol": failure.protocol,
        "errno": failure.errno,
        "stage": verdict.stage,
        "rule": verdict.rule,
        **_whole(failure, callers).to_dict(),
        "who": [who._asdict() for who in callers.who],
    }
    return json.dumps(fields) + "\n"
