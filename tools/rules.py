"""The pages of the model's rules: ``python -m tools.rules FOLDER`` writes one a rule, and an index."""

from __future__ import annotations

import sys
from pathlib import Path

from inetprobe.commands.explain import rule_page
from inetprobe.model.rules import Rule


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {"README.md": rule_page.index(), **{f"{rule}.md": rule_page.of_rule(rule) for rule in Rule}}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
