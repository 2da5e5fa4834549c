"""The streams of the VM besides the control port: its console, our standard input, our output."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import BinaryIO

from inetprobe.base.text import is_plain

CHUNK = 1 << 16
TAIL_BYTES = 1 << 14
TAIL_LINES = 20


def write_all(fd: int, data: bytes) -> None:
    """Writes every byte, also to a terminal that another process has made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])


class Console:
    """The output of the VM's kernel, init, qemu and virtme-ng: its end for error messages, all of it into ``log``."""

    def __init__(self, log: BinaryIO | None) -> None:
        self._log = log
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        if self._log is not None:
            self._log.write(data)
            self._log.flush()
        self._tail += data
        del self._tail[:-TAIL_BYTES]

    def last_lines(self) -> str:
        """The last lines, indented, without control characters."""
        text = self._tail.decode("utf-8", "replace").replace("\r", "\n")
        shown = ("".join(c for c in line if is_plain(c)).rstrip() for line in text.split("\n"))
        lines = [f"  {line}" for line in shown if line][-TAIL_LINES:]
        return "\n".join(lines) or "  (the console is empty)"


class StdinFeed:
    """Our standard input on its way to the guest, at most one chunk ahead of the guest."""

    def __init__(self, port: socket.socket) -> None:
        self._port = port
        self._pending = b""
        self._ended = False
        port.setblocking(False)

    def wants(self) -> tuple[int, int] | None:
        """The descriptor and the event to wait for next; None once the input has ended."""
        if self._ended:
            return None
        return (self._port.fileno(), select.POLLOUT) if self._pending else (0, select.POLLIN)

    def move(self) -> None:
        """Moves bytes after the event of ``wants`` has occurred."""
        try:
            if not self._pending:
                self._pending = os.read(0, CHUNK)
            sent = self._port.send(self._pending)
        except BlockingIOError:
            return
        except OSError:  # our stdin cannot be read, or the guest has ended
            self._pending, sent = b"", 0
        self._pending = self._pending[sent:]
        if sent == 0:
            self._end()

    def _end(self) -> None:
        """Tells the guest that the input has ended; after a plain close qemu would drop bytes that it has not read."""
        self._ended = True
        with suppress(OSError):  # the guest has ended
            self._port.shutdown(socket.SHUT_WR)
