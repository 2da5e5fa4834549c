"""``--format json``: one object.

::

    {"v": 1, "kind": "check", "status": 1,
     "files": [{"file": "boot.arrows", "status": 1, "kernel": "6.1.0", "sockets": 12,
                "verdicts": {"as_predicted": 11, "deviation": 1}, "rules": {"created": 11}, "lost": {},
                "examples": [{"verdict": "deviation", "id": "1-7", "request": "socket(…)", "errno": "EPERM",
                              "reason": "…", "count": 1}],
                "checks": [{"group": "model", "name": "deviation", "status": "failed", "message": "…",
                            "details": ["…"], "facts": {"count": 1}}]}],
     "total": {"files": 1, "sockets": 12, "verdicts": {…}, "rules": {…}, "lost": {…}}}

``status`` is the exit status, the command's or what the one file's would be. ``kernel`` is null where the file could
not be opened. A check's ``group`` is ``recording``, ``model``, ``budget`` or ``baseline``, its ``status`` ``passed``,
``warned``, ``failed``, ``skipped`` or ``unjudged``; its ``facts`` are the numbers in its message: ``limits`` of
a budget; ``test``, ``p``, ``p_holm``, ``value``, ``value_before``, ``ratio`` and ``change`` (``slower``, ``faster``,
``more``, ``fewer`` or null) of a comparison.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from inetprobe.commands.check.result import CheckResult, FileResult
from inetprobe.trace.output import Style


def render(report: CheckResult, style: Style, *, quiet: bool = False) -> str:
    """The report as one line; ``quiet`` leaves nothing out, since a program reads it."""
    total = {"files": len(report.files), **_counts(report.total())}
    files = [_file(result) for result in report.files]
    return json.dumps({"v": 1, "kind": "check", "status": report.status, "files": files, "total": total}) + "\n"


def _file(result: FileResult) -> dict[str, Any]:
    examples = [
        {"verdict": verdict, **asdict(example)}
        for verdict, kept in sorted(result.judged.examples.items())
        for example in kept.values()
    ]
    checks = [
        {
            "group": case.group,
            "name": case.name,
            "status": case.status,
            "message": case.message,
            "details": list(case.details),
            "facts": dict(case.facts),
        }
        for case in result.cases
    ]
    head = {"file": result.file, "status": result.status, "kernel": result.kernel}
    return {**head, **_counts(result), "examples": examples, "checks": checks}


def _counts(result: FileResult) -> dict[str, Any]:
    judged = result.judged
    named = {"verdicts": judged.verdicts, "rules": judged.rules, "lost": result.lost}
    return {"sockets": judged.sockets, **{name: dict(sorted(counts.items())) for name, counts in named.items()}}
