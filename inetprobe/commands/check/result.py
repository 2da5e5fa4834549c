"""What a check found, before any format: cases of a recording, and the recordings of a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inetprobe.base.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_RECORDING
from inetprobe.commands.check.judged import Judged

#: ``warned``: worth a look, and no failure. ``skipped``: it could not be checked, and that is no failure either.
#: ``unjudged``: the recording must not pass.
Status = Literal["passed", "warned", "failed", "skipped", "unjudged"]
#: What a case is about.
Group = Literal["recording", "model", "budget", "baseline"]


@dataclass(frozen=True, slots=True)
class Case:
    """One check. ``message`` is a sentence without its end, ``details`` more lines, ``facts`` the numbers, for JSON.

    Names, messages and details may hold what a stranger chose: each report escapes them.
    """

    group: Group
    name: str
    status: Status
    message: str
    details: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileResult:
    """One recording. ``kernel`` is None where the file could not even be opened; ``lost`` is by reason."""

    file: str
    kernel: str | None
    judged: Judged
    lost: Mapping[str, int]
    cases: tuple[Case, ...]

    @property
    def status(self) -> int:
        """The exit status this recording alone would give."""
        statuses = {case.status for case in self.cases}
        if "unjudged" in statuses:
            return EXIT_RECORDING
        return EXIT_CHECK_FAILED if "failed" in statuses else EXIT_OK


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All recordings of a command."""

    files: tuple[FileResult, ...]

    @property
    def status(self) -> int:
        """The exit status: the worst of the recordings'."""
        return max(one.status for one in self.files)

    def total(self) -> FileResult:
        """All of them as one, without cases and examples."""
        judged = Judged()
        lost: Counter[str] = Counter()
        for one in self.files:
            judged.sockets += one.judged.sockets
            judged.verdicts.update(one.judged.verdicts)
            judged.rules.update(one.judged.rules)
            lost.update(one.lost)
        return FileResult("total", None, judged, lost, ())
