"""The ready questions of docs/queries.md: the page is where they stand, so that it and ``--ask`` cannot differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.base.words import did_you_mean

_QUESTION = re.compile(r"^### ([a-z-]+)\n\n(.+?)\n\n```sql\n(.+?)```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReadyQuestion:
    """A question by its ``name``, what it asks in words, and in SQL."""

    name: str
    words: str
    sql: str


def page() -> Path:
    """docs/queries.md: inside the package when installed, in a checkout where it is read."""
    here = Path(__file__).resolve()
    for place in (here.with_name("queries.md"), here.parents[3] / "docs" / "queries.md"):
        if place.is_file():
            return place
    raise InetprobeError("queries.md is missing from this installation of inetprobe: reinstall it")


def questions() -> dict[str, ReadyQuestion]:
    """Every ready question, in the page's order."""
    found = (ReadyQuestion(*match) for match in _QUESTION.findall(page().read_text(encoding="utf-8")))
    return {question.name: question for question in found}


def question(name: str) -> ReadyQuestion:
    """The question of this name. Raises UsageError, which names those there are."""
    known = questions()
    if name in known:
        return known[name]
    hint = did_you_mean(name, known.keys(), f"give one of {', '.join(known)}")
    raise UsageError(f"--ask: there is no question {name!r}: {hint}")
