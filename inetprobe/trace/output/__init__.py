"""The sinks of ``--format``: each is a file here and a line in ``open_format``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from inetprobe.trace.pump import Sink


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: ``colour`` for a terminal; ``stable`` leaves out what differs between runs of one workload."""

    colour: bool = False
    stable: bool = False


def open_format(name: str, out: TextIO, style: Style) -> Sink:
    """The sink ``tree``, ``line`` or ``json``, writing to ``out``."""
    from inetprobe.trace.output import json_lines, line, tree

    formats: dict[str, Callable[[TextIO, Style], Sink]] = {
        "tree": tree.TreeSink,
        "line": line.LineSink,
        "json": json_lines.JsonSink,
    }
    return formats[name](out, style)
