"""The accounting of the live tests' runs as a table, from build/books-KERNEL.jsonl."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "build"
_COUNTS = re.compile(
    r"(?P<sockets>[\d,]+) sockets? created, (?P<complete>[\d,]+) complete, "
    r"(?P<incomplete>[\d,]+ incomplete(?: \([^)]*\))?), (?P<lost>[\d,]+ lost(?: \([^)]*\))?)(?:, (?P<rest>.*))?"
)


def rows(path: Path) -> list[str]:
    """One Markdown row for each live run of a kernel's tests."""
    table = []
    for line in path.read_text().splitlines():
        book = json.loads(line)
        match = _COUNTS.match(book["summary"])
        assert match is not None, book["summary"]
        argv = book["argv"]
        mechanism = argv[argv.index("--mechanism") + 1] if "--mechanism" in argv else "auto"
        case = re.sub(r"\[.*", "", book["case"]).removeprefix("test_")
        kernel = re.match(r"\d+\.\d+", book["kernel"])
        counts = [match["sockets"], match["complete"], match["incomplete"].replace(" incomplete", "")]
        counts += [match["lost"].replace(" lost", ""), match["rest"] or ""]
        table.append(" | ".join([case.replace("_", " "), kernel[0] if kernel else "?", mechanism, *counts]))
    return table


def main() -> int:
    """Prints the table of every kernel that has been tested."""
    books = sorted(BUILD.glob("books-*.jsonl"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    print("case | kernel | mechanism | sockets | complete | incomplete | lost | beside")
    print("--- | --- | --- | --- | --- | --- | --- | ---")
    for path in books:
        print("\n".join(rows(path)))
    return 0 if books else 1


if __name__ == "__main__":
    sys.exit(main())
