"""``--format text``: for people, under 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from inetprobe.base.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_RECORDING
from inetprobe.base.text import printable
from inetprobe.base.words import by_reason, counted
from inetprobe.commands.check.result import Case, CheckResult, FileResult, Status
from inetprobe.model.judge import AS_PREDICTED
from inetprobe.trace.output import Style

_WIDTH = 79
# By status: colour and text.
_MARKS: dict[Status, tuple[str, str]] = {
    "passed": ("green", "✓"),
    "warned": ("yellow", "!"),
    "failed": ("red", "✗"),
    "skipped": ("dim", "-"),
    "unjudged": ("red", "✗"),
}
_OUTCOMES = {
    EXIT_OK: ("green", "passed"),
    EXIT_CHECK_FAILED: ("red", "FAILED"),
    EXIT_RECORDING: ("red", "NOT JUDGED"),
}


def render(report: CheckResult, style: Style, *, quiet: bool = False) -> str:
    """The report; with ``quiet`` only what keeps a recording from passing."""
    shown = [result for result in report.files if not quiet or result.status != EXIT_OK]
    lines = [line for result in shown for line in (*_file(result, style, quiet), "")]
    if len(report.files) > 1 and not quiet:
        lines += [*_total(report, style), ""]
    return "".join(f"{line}\n" for line in lines[:-1])


def _file(result: FileResult, style: Style, quiet: bool) -> Iterator[str]:
    yield f"{printable(result.file)}: {_outcome(result.status, style)}"
    if not quiet and result.kernel is not None:
        yield f"  {counted(result.judged.sockets, 'socket')} on {printable(result.kernel)}"
        yield from _tally(result)
    for case in result.cases:
        if case.status in ("failed", "unjudged") or not (quiet or _said(case)):
            yield from _case(case, style)


def _said(case: Case) -> bool:
    """Does the table above the checks of a recording contain this case?"""
    whole = case.group == "recording" and case.name in ("sockets", "judged")
    return (whole or case.group == "model") and case.status in ("passed", "skipped")


def _total(report: CheckResult, style: Style) -> Iterator[str]:
    yield f"total of {len(report.files)} recordings: {_outcome(report.status, style)}"
    yield f"  {counted(report.total().judged.sockets, 'socket')}"
    yield from _tally(report.total())


def _tally(result: FileResult) -> Iterator[str]:
    details = {AS_PREDICTED: by_reason(result.judged.rules), "lost": by_reason(result.lost)}
    counts = {**dict.fromkeys((AS_PREDICTED, "deviation", "incomplete", "unmodelled"), 0), **result.judged.verdicts}
    for name, count in {**counts, "lost": sum(result.lost.values())}.items():
        head = f"    {name:<12}{count:>11,}"
        yield from _wrapped(f"{head}  ", details.get(name, ""))


def _case(case: Case, style: Style) -> Iterator[str]:
    heads = {"recording": "recording", "model": f"{case.name}:"}
    head = heads.get(case.group, f"{case.group} {printable(case.name)}:")
    first, *others = _wrapped("    ", f"{head} {printable(case.message)}")
    yield f"  {style.paint(*_MARKS[case.status])} {first[4:]}"
    yield from others
    unchanged = case.group == "baseline" and case.status in ("passed", "skipped") and not case.facts.get("change")
    for detail in () if unchanged else case.details:
        yield from _wrapped("      ", printable(detail))


def _wrapped(head: str, text: str) -> list[str]:
    """``text`` after ``head``, wrapped and indented to the end of ``head``."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    ) or [head.rstrip()]


def _outcome(status: int, style: Style) -> str:
    return style.paint(*_OUTCOMES[status])
