"""The result of a check, before formatting: the cases of a recording, and the recordings of a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from inetprobe.base.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_RECORDING
from inetprobe.commands.check.judged import Judged

#: ``warned``: worth a look, but no failure. ``skipped``: could not be checked, which is no failure either.
#: ``unjudged``: the recording must not pass.
Status = Literal["passed", "warned", "failed", "skipped", "unjudged"]
#: The subject of a case.
Group = Literal["recording", "model", "budget", "baseline"]


@dataclass(frozen=True, slots=True)
class Case:
    """One check. ``message`` is a sentence without a full stop, ``details`` are more lines, ``facts`` numbers for JSON.

    Names, messages and details may contain untrusted text: each format escapes it.
    """

    group: Group
    name: str
    status: Status
    message: str
    details: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileResult:
    """One recording. ``kernel`` is None if the file could not be opened; ``lost`` is by reason."""

    file: str
    kernel: str | None
    judged: Judged
    lost: Mapping[str, int]
    cases: tuple[Case, ...]

    @property
    def status(self) -> int:
        """The exit status for this recording alone."""
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
        """The exit status: the highest of the recordings."""
        return max(result.status for result in self.files)

    def total(self) -> FileResult:
        """The sums of all recordings, without cases and examples."""
        judged = Judged()
        lost: Counter[str] = Counter()
        for result in self.files:
            judged.sockets += result.judged.sockets
            judged.verdicts.update(result.judged.verdicts)
            judged.rules.update(result.judged.rules)
            lost.update(result.lost)
        return FileResult("total", None, judged, lost, ())
