"""The sinks of ``--format``: each is a file here and a line in ``open_format``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from inetprobe.trace.pump import Sink

#: ECMA-48's numbers.
COLOURS = {"red": 31, "green": 32, "yellow": 33, "dim": 2, "bold": 1}


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: ``colour`` for a terminal; ``stable`` leaves out what differs between runs of one workload."""

    colour: bool = False
    stable: bool = False

    def paint(self, colour: str, text: str) -> str:
        """``text`` in a colour of ``COLOURS``, or as it is without ``colour``."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colour else text


def open_format(name: str, out: TextIO, style: Style) -> Sink:
    """The sink ``tree``, ``line`` or ``json``, writing to ``out``."""
    from inetprobe.trace.output import json_lines, line, tree

    formats: dict[str, Callable[[TextIO, Style], Sink]] = {
        "tree": tree.TreeSink,
        "line": line.LineSink,
        "json": json_lines.JsonSink,
    }
    return formats[name](out, style)
