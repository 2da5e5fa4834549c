"""Lines for a reader that may be slow, stopped or gone: a thread writes them, so that nobody else waits for it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

#: Bytes. The stream's ring holds some 2,700 traces, whose lines are a quarter of it.
MAX_WAITING = 16 << 20


class LineWriter:
    """Writes whole lines to the descriptor of ``stream``; for any thread.

    Until ``start`` they are written at once. From then on ``write`` never blocks: at most ``max_waiting`` bytes wait
    for the reader, and lines beyond them are left out. In their place comes the line ``gap(how many)``.

    Python's own file would not do: it is flushed at exit, where the lock of a thread that still writes aborts Python.
    """

    def __init__(self, stream: TextIO, gap: Callable[[int], str], max_waiting: int = MAX_WAITING) -> None:
        self._descriptor = stream.fileno()
        self._encoding, self._errors = stream.encoding, stream.errors or "strict"
        self._gap = gap
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # Bytes, and the lines in them that were asked for. The first are being written.
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        self._left_out_since = 0  # of these the ones that no gap tells of yet
        self._closed = False
        self._error: OSError | None = None

    def start(self) -> None:
        """Leaves the writing to a thread."""
        # A daemon: it may never return from a write to a reader that has stopped.
        self._thread = threading.Thread(target=self._run, name="inetprobe-lines", daemon=True)
        self._thread.start()

    def write(self, lines: str) -> None:
        """Writes lines, each with its end. Raises OSError if these or earlier lines could not be written."""
        with self._changed:
            if self._error is not None:
                raise OSError(self._error.errno, self._error.strerror)
            if self._thread is not None:
                self._put(self._encode(lines), lines.count("\n"))
                return
        self._write(self._encode(lines))

    def flush(self) -> None:
        """Does nothing: no line is held back."""

    def left_out(self) -> int:
        """How many lines were left out since ``start``."""
        with self._changed:
            return self._left_out

    def close(self, seconds: float) -> int:
        """Waits at most ``seconds`` for the reader. Returns how many lines were not written since ``start``."""
        if self._thread is None:
            return 0
        with self._changed:
            self._tell_of_gap()
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            return self._left_out + sum(count for _, count in self._waiting)

    def _encode(self, text: str) -> bytes:
        return text.encode(self._encoding, self._errors)

    def _put(self, data: bytes, count: int) -> None:
        if self._waiting_bytes + len(data) > self._max_waiting:
            self._left_out += count
            self._left_out_since += count
        else:
            self._tell_of_gap()
            self._append(data, count)

    def _tell_of_gap(self) -> None:
        if self._left_out_since:
            self._append(self._encode(self._gap(self._left_out_since)), 0)
            self._left_out_since = 0

    def _append(self, data: bytes, count: int) -> None:
        self._waiting.append((data, count))
        self._waiting_bytes += len(data)
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                data, _ = self._waiting[0]
            try:
                self._write(data)
            except OSError as error:
                with self._changed:
                    self._error = error
                return
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= len(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
