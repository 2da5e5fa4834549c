"""Progress of work that takes longer than a second: on stderr if that is a terminal, and not with -q.

::

    with reading(paths, quiet=quiet) as advance:      # advance(bytes) as they are read
        pump(RecordingReader(path, on_read=advance), …)

    with progress("compiling the BPF program"):       # of unknown length: a spinner and the time
        …

Shorter work shows nothing and costs one sleeping thread; rich is imported only after a second. At the end the line is
erased.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inetprobe.base.text import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

#: Called with how many more bytes have been read.
Advance = Callable[[int], None]
#: How long work may take without showing progress.
PATIENCE_S = 1.0
_EVERY_S = 0.1


@contextlib.contextmanager
def progress(task: str, total: int | None = None, *, quiet: bool = False, printing: bool = False) -> Iterator[Advance]:
    """Shows the progress of ``task`` while the block runs; yields a function to call with each number of bytes done.

    With ``total``, in bytes, it is a bar. ``printing``: the block writes to stdout as it goes; if that is a terminal,
    the output itself is the progress.
    """
    if quiet or not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield _ignore
        return
    line = _ProgressLine(task, total)
    try:
        yield line.advance
    finally:
        line.end()


@contextlib.contextmanager
def reading(paths: Sequence[Path], *, quiet: bool = False, printing: bool = False) -> Iterator[Advance]:
    """Shows how much of the files has been read. The reader reports a file that cannot be read."""
    names = printable(paths[0].name) if len(paths) == 1 else f"{len(paths)} recordings"
    with progress(f"reading {names}", sum(map(_size, paths)) or None, quiet=quiet, printing=printing) as advance:
        yield advance


class _ProgressLine:
    """A thread that sleeps first and then, while the work goes on, redraws a line."""

    def __init__(self, task: str, total: int | None) -> None:
        self._task, self._total, self._done = task, total, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def advance(self, count: int) -> None:
        self._done += count

    def end(self) -> None:
        """Ends the thread: one that was started with capabilities would keep them."""
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        if self._over.wait(PATIENCE_S):
            return
        from rich.console import Console
        from rich.progress import Progress

        class Terminal(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False  # a signal that ends this process would leave the cursor hidden

        # Redrawn by this thread: rich's own could outlive the bar.
        bar = Progress(*_columns(self._total), console=Terminal(file=sys.stderr), transient=True,
                       redirect_stdout=False, redirect_stderr=False, auto_refresh=False)  # fmt: skip
        task = bar.add_task(self._task, total=self._total)
        bar.tasks[0].start_time = bar.get_time() - PATIENCE_S  # the work has been running since then
        with bar:
            while True:
                bar.update(task, completed=self._done, refresh=True)
                if self._over.wait(_EVERY_S):
                    return


def _columns(total: int | None) -> list[ProgressColumn | str]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    description = TextColumn("{task.description}", markup=False)  # a file name must not act as markup
    if total is None:
        return [SpinnerColumn(), description, TimeElapsedColumn()]
    return [description, BarColumn(None), DownloadColumn(binary_units=True), TimeRemainingColumn()]


def _ignore(_count: int) -> None:
    pass


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
