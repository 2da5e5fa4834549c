"""Progress of what takes longer than a second: on stderr, where that is a terminal and nobody said -q.

::

    with reading(paths, quiet=quiet) as advance:      # advance(bytes) as they are read
        pump(ReplaySource(path, on_read=advance), …)

    with progress("compiling the BPF program"):       # nobody knows how long: a spinner and the time
        …

What is over within a second never shows, and costs a thread that sleeps; rich is loaded only then. Whatever was drawn
is gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inetprobe.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

#: Called with how many more bytes have been read.
Advance = Callable[[int], None]
#: In seconds.
PATIENCE_S = 1.0


@contextlib.contextmanager
def progress(what: str, total: int | None = None, *, quiet: bool = False, printing: bool = False) -> Iterator[Advance]:
    """Shows ``what`` goes on while the block runs, with ``total`` in bytes a bar; yields what to call with new bytes.

    ``printing``: the block writes to stdout as it goes. Where that is a terminal, it is itself the progress.
    """
    if quiet or not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield _ignore
        return
    shown = _Shown(what, total)
    try:
        yield shown.advance
    finally:
        shown.end()


@contextlib.contextmanager
def reading(paths: Sequence[Path], *, quiet: bool = False, printing: bool = False) -> Iterator[Advance]:
    """Shows how much of the files has been read. One that cannot be read is for the reader to complain of."""
    what = printable(paths[0].name) if len(paths) == 1 else f"{len(paths)} recordings"
    with progress(f"reading {what}", sum(map(_size, paths)) or None, quiet=quiet, printing=printing) as advance:
        yield advance


class _Shown:
    """A timer first; then, if it still goes on, a line that a thread of rich's redraws."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._bar: Progress | None = None
        # A terminal of its own: while bcc compiles, descriptor 2 is bent aside to catch what clang says.
        self._terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
        self._timer = threading.Timer(PATIENCE_S, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def end(self) -> None:
        """Afterwards no thread is left: one that began with capabilities would keep them."""
        self._timer.cancel()
        self._timer.join()
        if self._bar is not None:
            self._bar.stop()
        self._terminal.close()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        class Terminal(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False  # a signal that ends us would leave a terminal without one

        bar = Progress(*_columns(self._total), console=Terminal(file=self._terminal), transient=True,
                       redirect_stdout=False)  # fmt: skip
        bar.add_task(self._what, total=self._total, completed=self._done)
        bar.tasks[0].start_time = bar.get_time() - PATIENCE_S  # it goes on for that long already
        bar.start()
        self._bar = bar


def _columns(total: int | None) -> list[ProgressColumn | str]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    what = TextColumn("{task.description}", markup=False)  # a file's name is nobody's markup
    if total is None:
        return [SpinnerColumn(), what, TimeElapsedColumn()]
    return [what, BarColumn(None), DownloadColumn(binary_units=True), TimeRemainingColumn()]


def _ignore(_count: int) -> None:
    pass


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
