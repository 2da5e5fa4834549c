"""Progress of what takes longer than a second: on stderr, where that is a terminal and nobody said -q.

::

    with reading(paths, quiet=quiet) as advance:      # advance(bytes) as they are read
        pump(RecordingReader(path, on_read=advance), …)

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

from inetprobe.base.text import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

#: Called with how many more bytes have been read.
Advance = Callable[[int], None]
#: In seconds.
PATIENCE_S = 1.0
_EVERY_S = 0.1


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
    """A thread that sleeps first; then, if it still goes on, one that redraws a line."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done = what, total, 0
        # A terminal of its own: while bcc compiles, descriptor 2 is bent aside to catch what clang says.
        self._terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def advance(self, count: int) -> None:
        self._done += count

    def end(self) -> None:
        """Afterwards no thread is left: one that began with capabilities would keep them."""
        self._over.set()
        self._thread.join()
        self._terminal.close()

    def _show(self) -> None:
        if self._over.wait(PATIENCE_S):
            return
        from rich.console import Console
        from rich.progress import Progress

        class Terminal(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False  # a signal that ends us would leave a terminal without one

        # Redrawn from here: rich's own thread may outlive the bar.
        bar = Progress(*_columns(self._total), console=Terminal(file=self._terminal), transient=True,
                       redirect_stdout=False, redirect_stderr=False, auto_refresh=False)  # fmt: skip
        task = bar.add_task(self._what, total=self._total)
        bar.tasks[0].start_time = bar.get_time() - PATIENCE_S  # it goes on for that long already
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
