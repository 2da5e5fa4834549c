"""How far a long command is: a line on stderr that is written over, on a terminal only, from the second second on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inetprobe.record import Batch
from inetprobe.run import Accounting, Run

_FIRST_S, _EVERY_S = 1.0, 0.25


class Progress:
    """A sink that counts sockets. ``files`` are what is read, for their size."""

    def __init__(self, files: Sequence[Path], quiet: bool) -> None:
        self._shown = sys.stderr.isatty() and not quiet
        self._megabytes = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        self._sockets = 0
        self._due = time.monotonic() + _FIRST_S
        self._written = False

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink."""
        self.add(len(batch))

    def add(self, sockets: int) -> None:
        """So many more."""
        self._sockets += sockets
        if self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + _EVERY_S
            self._written = True
            sys.stderr.write(f"\r{self._sockets:,} sockets read of {self._megabytes:,.0f} MB\x1b[K")
            sys.stderr.flush()

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""
        self.done()

    def done(self) -> None:
        """The line goes away."""
        if self._written:
            self._written = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
