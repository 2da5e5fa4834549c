"""Where traces go: one small file a sink, one line each in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, TextIO

from inetprobe.record import Batch
from inetprobe.run import Accounting, Run


class Sink(Protocol):
    """Takes what passed the filters, in order. Each method raises OSError where it cannot write."""

    def batch(self, batch: Batch, run: Run) -> None:
        """Takes the losses of ``batch``, then its records. Their calls are known to nest."""

    def summary(self, accounting: Accounting) -> None:
        """The run is over and this is where every socket went. Not called if the run ends by an error."""

    def close(self) -> None:
        """Writes what is still held back and lets go of everything. Called once, after an error too."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a sink that prints is to print. ``stable`` leaves out all that changes from run to run."""

    stream: TextIO
    colour: bool = False
    stable: bool = False


#: Sinks that print traces, by the name ``--format`` has for them: where the function that makes one is.
FORMATS: Mapping[str, str] = {
    "tree": "inetprobe.sinks.text_tree:TreeSink",
    "line": "inetprobe.sinks.text_line:LineSink",
    "json": "inetprobe.sinks.jsonl:JsonSink",
}


def make_sink(name: str, output: Output) -> Sink:
    """The sink called ``name`` in FORMATS; only its own module is imported."""
    module, _, attribute = FORMATS[name].partition(":")
    make: Callable[[Output], Sink] = getattr(import_module(module), attribute)
    return make(output)
