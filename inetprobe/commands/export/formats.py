"""Recordings for other people's tools. A format is a small file and a line in ``_FORMATS``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from inetprobe.record.accounting import Accounting
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run

#: The module of each, whose ``open_export`` takes the run and the options.
_FORMATS = {"perfetto": "perfetto", "folded": "folded", "parquet": "parquet"}
FORMATS = tuple(_FORMATS)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a format is opened with: where to (``-`` is stdout), the recording's name, and the root of folded stacks."""

    output: str
    recording: str
    by: str = "comm"


class Export(Protocol):
    """A sink of one run whose output is put into place when it is whole."""

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Takes a batch and its losses, as any sink does."""

    def summary(self, accounting: Accounting) -> None:
        """The run is over and was read to its end."""

    def cut_short(self, accounting: Accounting, problem: str) -> None:
        """The run is over, and ``problem`` says why the recording has no more: the output says so if it can."""

    def discard(self) -> None:
        """Nothing of the output is left; harmless once it is in place."""


def open_export(form: str, run: Run, options: ExportOptions) -> Export:
    """The sink that writes ``form``. Raises UsageError, or InetprobeError where the output cannot be written."""
    module = importlib.import_module(f"inetprobe.commands.export.{_FORMATS[form]}")
    opened = cast("Callable[[Run, ExportOptions], Export]", module.open_export)
    return opened(run, options)
