"""Examines recordings: each is read once, into all sinks that the checks need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inetprobe.base.errors import RecordingError
from inetprobe.base.text import file_name
from inetprobe.base.words import by_reason, counted
from inetprobe.commands.check.baseline import Baseline, Sample, compare
from inetprobe.commands.check.budget import Budget
from inetprobe.commands.check.judged import Example, Judged
from inetprobe.commands.check.result import Case, CheckResult, FileResult, Status
from inetprobe.commands.check.spending import Spending
from inetprobe.model.judge import AS_PREDICTED
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.trace.pump import Sink, pump

#: The values of ``--fail-on``, each with the words that follow a number of sockets.
FAILURES = {
    "deviation": "not as the model predicts",
    "incomplete": "recorded incompletely",
    "unmodelled": "not covered by the model",
    "lost": "without a trace",
}


OnRead = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The checks of each recording. ``fail_on`` has keys of ``FAILURES``; ``min_sockets`` is at least 1."""

    filters: Filters = field(default_factory=Filters)
    budgets: Sequence[Budget] = ()
    baseline: Path | None = None
    fail_on: frozenset[str] = frozenset({"deviation"})
    min_sockets: int = 1


def examine(paths: Sequence[Path], plan: Plan, on_read: OnRead | None = None) -> CheckResult:
    """Examines all recordings, after reading the baseline once; ``on_read`` gets each number of bytes read."""
    baseline = None if plan.baseline is None else _read_baseline(plan.baseline, plan, on_read)
    return CheckResult(tuple(_file(path, plan, baseline, on_read) for path in paths))


def _read_baseline(path: Path, plan: Plan, on_read: OnRead | None) -> Baseline | Case:
    """The baseline, or the case that says why it cannot be one."""
    sample, judged = Sample(), Judged()
    try:
        source = RecordingReader(path, on_read)
        accounting = pump(source, plan.filters, [sample, judged])
    except RecordingError as error:
        return _no_baseline(path, _predicate(path, error))
    unsound = [case for case in _soundness(judged, accounting, plan) if case.status == "unjudged"]
    if unsound:
        return _no_baseline(path, unsound[0].message)
    return Baseline(source.run, sample)


def _no_baseline(path: Path, why: str) -> Case:
    return Case("baseline", "conditions", "unjudged", f"the baseline {file_name(path)} {why}")


def _file(path: Path, plan: Plan, baseline: Baseline | Case | None, on_read: OnRead | None) -> FileResult:
    judged, sample = Judged(), Sample()
    spendings = [Spending(budget) for budget in plan.budgets]
    try:
        source = RecordingReader(path, on_read)
    except RecordingError as error:
        return FileResult(file_name(path), None, judged, {}, (_broken(path, error),))
    sinks: list[Sink] = [judged, *spendings, *([sample] if isinstance(baseline, Baseline) else [])]
    lost: Mapping[str, int] = judged.lost
    try:
        accounting = pump(source, plan.filters, sinks)
    except RecordingError as error:
        cases = [_broken(path, error)]
    else:
        lost = {reason: count for reason, count in accounting.lost.items() if count}
        cases = _soundness(judged, accounting, plan)
    checks = _verdicts(judged, lost, plan) + [spending.case(source.run) for spending in spendings]
    if isinstance(baseline, Case):
        checks.append(baseline)
    elif baseline is not None:
        checks += compare(sample, [source.run], baseline)
    if any(case.status == "unjudged" for case in cases):
        # Nothing is known about the missing part: a check can fail by what was seen, but cannot pass.
        checks = [replace(case, status="skipped") if case.status == "passed" else case for case in checks]
    return FileResult(file_name(path), source.run.kernel, judged, lost, (*cases, *checks))


def _broken(path: Path, error: RecordingError) -> Case:
    return Case("recording", "whole", "unjudged", _predicate(path, error))


def _predicate(path: Path, error: RecordingError) -> str:
    """The error without the path with which it begins."""
    return str(error).removeprefix(f"{path} ")


def _soundness(judged: Judged, accounting: Accounting, plan: Plan) -> list[Case]:
    """The cases that decide whether a recording that was read to its end can be judged."""
    return [_whole(judged.sockets, accounting), _lossless(accounting), _enough(judged, plan), _held(judged)]


def _whole(sockets: int, accounting: Accounting) -> Case:
    message = accounting.damage(sockets)
    if message is None:
        return Case("recording", "whole", "passed", "is whole, and its accounting adds up")
    return Case("recording", "whole", "unjudged", message)


def _lossless(accounting: Accounting) -> Case:
    message = accounting.gap()
    if message is None:
        return Case("recording", "lossless", "passed", "lost nothing")
    return Case("recording", "lossless", "unjudged", message, facts={"missing": accounting.missing()})


def _enough(judged: Judged, plan: Plan) -> Case:
    if judged.sockets >= plan.min_sockets:
        return Case("recording", "sockets", "passed", f"has {counted(judged.sockets, 'socket')}")
    message = f"has only {counted(judged.sockets, 'socket')}, and --min-sockets asks for {plan.min_sockets:,}"
    if not judged.sockets:
        message = (
            "is empty: no socket was recorded" if plan.filters == Filters() else "has no socket that passes the filters"
        )
    return Case("recording", "sockets", "unjudged", message)


def _held(judged: Judged) -> Case:
    known = judged.verdicts[AS_PREDICTED] + judged.verdicts["deviation"]
    if known or not judged.sockets:
        return Case("recording", "judged", "passed", f"has {counted(known, 'trace')} that the model can judge")
    examples = [example for kept in judged.examples.values() for example in kept.values()]
    frequent = max(examples, key=lambda example: example.count)
    message = f"has no trace that the model can judge: {frequent.reason}"
    return Case("recording", "judged", "unjudged", message)


def _verdicts(judged: Judged, lost: Mapping[str, int], plan: Plan) -> list[Case]:
    """One case for each rule that decided, and one for each other verdict."""
    cases = [
        Case("model", rule, "passed", f"{counted(count, 'socket')} as the model predicts", facts={"count": count})
        for rule, count in sorted(judged.rules.items())
    ]
    for verdict, words in FAILURES.items():
        count = sum(lost.values()) if verdict == "lost" else judged.verdicts[verdict]
        if verdict == "lost" and (verdict not in plan.fail_on or not count):
            continue  # the case "recording lossless" reports it
        status: Status = "passed" if not count else "failed" if verdict in plan.fail_on else "warned"
        examples = judged.examples.get(verdict, {}).values()
        details = (by_reason(lost),) if verdict == "lost" else tuple(map(_example, examples))
        message = f"{counted(count, 'socket')} {words}"
        cases.append(Case("model", verdict, status, message, details, facts={"count": count}))
    return cases


def _example(example: Example) -> str:
    outcome = f" = -1 {example.errno}" if example.errno else ""
    more = "" if example.count == 1 else f" and {example.count - 1:,} more"
    return f"{example.id}{more} {example.request}{outcome}: {example.reason}"
