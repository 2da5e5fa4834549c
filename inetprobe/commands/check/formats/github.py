"""``--format github``: workflow commands, which GitHub Actions shows as annotations."""

from __future__ import annotations

from collections.abc import Iterator

from inetprobe.base.text import printable
from inetprobe.base.words import counted
from inetprobe.commands.check.result import Case, CheckResult, FileResult, Status
from inetprobe.trace.output import Style

_LEVELS: dict[Status, str] = {"failed": "error", "unjudged": "error", "warned": "warning"}
# As the runner's own toolkit escapes them (actions/toolkit, packages/core/src/command.ts).
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def render(report: CheckResult, style: Style, *, quiet: bool = False) -> str:
    """An annotation for each check that failed or warns; unless ``quiet``, then a line of numbers."""
    lines = [line for result in report.files for line in _annotations(result, quiet)]
    if not quiet:
        # No untrusted text: the runner looks for commands inside this line as well.
        sockets = counted(report.total().judged.sockets, "socket")
        lines.append(f"inetprobe check: {sockets} in {counted(len(report.files), 'recording')}, status {report.status}")
    return "".join(f"{line}\n" for line in lines)


def _annotations(result: FileResult, quiet: bool) -> Iterator[str]:
    for case in result.cases:
        level = _LEVELS.get(case.status) or _notice(case)
        if level is not None and (level == "error" or not quiet):
            title = f"inetprobe check: {case.group} {printable(case.name)}"
            joint = " " if case.group == "recording" else ": "
            data = "\n".join(map(printable, (f"{result.file}{joint}{case.message}", *case.details)))
            yield f"::{level} title={_escaped(title, _PROPERTY)}::{_escaped(data, _DATA)}"


def _notice(case: Case) -> str | None:
    """The level of a change for the better, which is no warning."""
    return "notice" if case.facts.get("change") else None


def _escaped(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(char, char) for char in text)
