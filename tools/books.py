"""What the live tests' runs wrote down, from build/books-KERNEL-SUITE.jsonl: the accounting of each, as a table.

With ``--rules``: was every rule of the model seen in a real trace?
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inetprobe.model.rules import Rule

BUILD = Path(__file__).resolve().parents[1] / "build"
_COUNTS = re.compile(
    r"(?P<calls>[\d,]+) calls?, (?:(?P<failed>[\d,]+) failed(?: \([^)]*\))?, )?(?P<complete>[\d,]+) complete, "
    r"(?P<incomplete>[\d,]+) incomplete(?: \([^)]*\))?, (?P<lost>[\d,]+) lost(?: \([^)]*\))?(?:, (?P<rest>.*))?"
)
#: The rules that no live test in one VM can bring about, or tell.
UNSEEN = {
    Rule.PACKET: "the success is another family's, and has no verdict",
    Rule.IPV6_DISABLED: "of a boot with ipv6.disable=1: tests/boot",
    Rule.ALLOC_SECURITY: "in a trace it looks like alloc-memory",
    Rule.ALLOC_MODULE: "in a trace it looks like alloc-memory",
    Rule.HASH: "no protocol of Linux refuses there",
    Rule.NETNS: "Linux before 3.8, which has no BTF",
    Rule.NESTED: "MPTCP before Linux 6.6, whose inner socket finds no memory",
    Rule.INIT: "an init function that finds no memory",
}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Each run of a file."""
    return map(json.loads, path.read_text().splitlines())


def table(path: Path) -> list[str]:
    """One Markdown row for each live run of a kernel's tests."""
    lines = []
    for row in rows(path):
        match = _COUNTS.match(row["summary"])
        assert match is not None, row["summary"]
        argv = row["argv"]
        mechanism = argv[argv.index("--mechanism") + 1] if "--mechanism" in argv else "auto"
        case = re.sub(r"\[.*", "", row["case"]).removeprefix("test_")
        kernel = re.match(r"\d+\.\d+", row["kernel"])
        counts = [match[name] or "" for name in ("calls", "failed", "complete", "incomplete", "lost", "rest")]
        lines.append(" | ".join([case.replace("_", " "), kernel[0] if kernel else "?", mechanism, *counts]))
    return lines


def check_rules(books: list[Path]) -> int:
    """0 if every rule but those of UNSEEN was seen."""
    seen = {rule for path in books for row in rows(path) for rule in row.get("rules", ())}
    missing = [rule for rule in Rule if rule not in seen and rule not in UNSEEN]
    print(f"{len(seen)} rules seen by {len(books)} suites; not seen: {', '.join(missing) or 'none'}")
    print(f"{len(seen)} passed, {len(missing)} failed")
    return int(bool(missing))


def main() -> int:
    """Prints the table of every kernel that has been tested, or what ``--rules`` asks for."""
    books = sorted(BUILD.glob("books-*.jsonl"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    if sys.argv[1:] == ["--rules"]:
        return check_rules(books)
    print("case | kernel | mechanism | calls | failed | complete | incomplete | lost | beside")
    print("--- | --- | --- | --- | --- | --- | --- | --- | ---")
    for path in books:
        print("\n".join(table(path)))
    return 0 if books else 1


if __name__ == "__main__":
    sys.exit(main())
