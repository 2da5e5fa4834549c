"""The ready questions, read from docs/queries.md, so that the page and ``--ask`` cannot differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.base.words import did_you_mean

_QUESTION = re.compile(r"^### ([a-z-]+)\n\n(.+?)\n\n```sql\n(.+?)```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadyQuestion:
    """A question: its ``name``, in words and in SQL."""

    name: str
    words: str
    sql: str


def page() -> Path:
    """docs/queries.md, which in an installed package is beside this module. Raises InetprobeError if it is missing."""
    here = Path(__file__).resolve()
    for path in (here.with_name("queries.md"), here.parents[3] / "docs" / "queries.md"):
        if path.is_file():
            return path
    raise InetprobeError("queries.md is missing from this installation of inetprobe: reinstall it")


def questions() -> dict[str, ReadyQuestion]:
    """All ready questions by name, in the order of the page."""
    every = (ReadyQuestion(*match) for match in _QUESTION.findall(page().read_text(encoding="utf-8")))
    return {question.name: question for question in every}


def question(name: str) -> ReadyQuestion:
    """The question of this name. Raises UsageError that suggests a name."""
    known = questions()
    if name in known:
        return known[name]
    hint = did_you_mean(name, known.keys(), f"give one of {', '.join(known)}")
    raise UsageError(f"--ask: there is no question {name!r}: {hint}")
