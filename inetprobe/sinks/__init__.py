"""Where batches go. A sink is a small file and a line in ``open_format``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol, TextIO

from inetprobe.errors import InetprobeError
from inetprobe.record import Batch
from inetprobe.run import Accounting, Run


class Sink(Protocol):
    """Takes the batches of one run in order, then its accounting."""

    def batch(self, batch: Batch, run: Run) -> None:
        """One batch, with its losses; called with empty ones too, so that time can be kept."""

    def summary(self, accounting: Accounting) -> None:
        """The run is over."""


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: ``colour`` on a terminal; ``stable`` leaves out what changes from run to run."""

    colour: bool = False
    stable: bool = False


#: What a recording can leave out.
REDACTIONS = ("host", "comm", "cgroup")


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A recording's file, open for writing: it is opened with all privileges, and Arrow is loaded without."""

    path: Path
    file: FileIO

    @classmethod
    def create(cls, path: Path) -> OutputFile:
        """Makes or empties ``path``. Raises InetprobeError."""
        try:
            return cls(path, path.open("wb", buffering=0))
        except OSError as error:
            raise cannot_write("recording", path, error) from None


def cannot_write(what: str, path: Path | str, error: OSError) -> InetprobeError:
    """The one sentence for what cannot be written."""
    return InetprobeError(
        f"the {what} {path} cannot be written: {error.strerror or error}: name another file or make room"
    )


def open_format(name: str, out: TextIO, style: Style) -> Sink:
    """The text sink ``tree``, ``line`` or ``json`` on ``out``."""
    from inetprobe.sinks import jsonl, text_line, text_tree

    formats: dict[str, Callable[[TextIO, Style], Sink]] = {
        "tree": text_tree.TreeSink,
        "line": text_line.LineSink,
        "json": jsonl.JsonSink,
    }
    return formats[name](out, style)
