"""``--format junit``: JUnit's XML as Jenkins and GitLab read it: a testsuite per recording, a testcase per check.

A failed check is a ``<failure>``; an ``<error>`` says that the recording could not be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from inetprobe.base.text import printable
from inetprobe.commands.check.result import Case, CheckResult, FileResult, Status
from inetprobe.trace.output import Style

_ELEMENTS: dict[Status, str] = {"failed": "failure", "unjudged": "error", "skipped": "skipped"}
_TOTALS: dict[str, Status] = {"failures": "failed", "errors": "unjudged"}


def render(report: CheckResult, style: Style, *, quiet: bool = False) -> str:
    """The report as a document; ``quiet`` leaves nothing out, since a program reads it."""
    cases = [case for result in report.files for case in result.cases]
    root = ET.Element("testsuites", {"name": "inetprobe check", **_numbers(cases)})
    for result in report.files:
        _suite(root, result)
    ET.indent(root)
    # Other characters become references, so that the declaration is true in any encoding of stdout.
    document: bytes = ET.tostring(root, encoding="us-ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document.decode()}\n'


def _suite(root: ET.Element, result: FileResult) -> None:
    skipped = sum(case.status == "skipped" for case in result.cases)
    numbers = {**_numbers(result.cases), "skipped": str(skipped)}
    suite = ET.SubElement(root, "testsuite", {"name": _xml(result.file), **numbers})
    for case in result.cases:
        _case(suite, case)


def _case(suite: ET.Element, case: Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=f"inetprobe.{case.group}", name=_xml(case.name))
    text = "\n".join(map(_xml, (case.message, *case.details)))
    name = _ELEMENTS.get(case.status)
    if name is None:
        ET.SubElement(element, "system-out").text = text
        return
    outcome = ET.SubElement(element, name, message=_xml(case.message))
    if name != "skipped":
        outcome.set("type", case.group)
    outcome.text = text


def _numbers(cases: Sequence[Case]) -> dict[str, str]:
    counts = {name: sum(case.status == status for case in cases) for name, status in _TOTALS.items()}
    return {"tests": str(len(cases)), **{name: str(count) for name, count in counts.items()}}


def _xml(text: str) -> str:
    """``text`` without what XML 1.0 forbids: control characters, lone surrogates, U+FFFE and U+FFFF are escaped."""
    return printable(text)
