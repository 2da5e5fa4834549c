"""Recordings for other people's tools: a module of this package for each format."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run

#: Each is a module of this package, whose ``open_export`` takes the run and the options.
FORMATS = ("perfetto", "folded", "parquet")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The output (``-`` is stdout), the name of the recording, and the root of folded stacks."""

    output: str
    recording: str
    by: str = "comm"


class Export(Protocol):
    """A sink of one run whose output gets its name once it is complete."""

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Takes a batch and its losses, as any sink does."""

    def summary(self, accounting: Accounting) -> None:
        """The run was read to its end."""

    def cut_short(self, accounting: Accounting, problem: str) -> None:
        """The run ended early; ``problem`` says why, and the output contains it if the format can."""

    def discard(self) -> None:
        """Removes an incomplete output; does nothing once it is complete."""


def open_export(form: str, run: Run, options: ExportOptions) -> Export:
    """The sink that writes ``form``. Raises UsageError, or InetprobeError if the output cannot be written."""
    module = importlib.import_module(f"inetprobe.commands.export.{form}")
    opened = cast("Callable[[Run, ExportOptions], Export]", module.open_export)
    return opened(run, options)
