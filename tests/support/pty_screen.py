"""A program on a pseudo-terminal, and what a user sees of it there."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

import pyte


class _Screen(pyte.Screen):
    """pyte takes these sequences of newer terminals for others that it knows."""

    def report_device_status(self, *args, **kwargs):
        pass


class Terminal:
    """``argv``, a program or a function, on a terminal of ``columns`` × ``lines``; ``display`` is what stands on it."""

    def __init__(self, argv, columns=80, lines=24, **environment):
        self._screen = _Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        self.status = None
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.environ.update({"TERM": "xterm-256color", "TEXTUAL_DISABLE_KITTY_KEY": "1"} | environment)
            if "NO_COLOR" not in environment:
                os.environ.pop("NO_COLOR", None)
            if callable(argv):
                argv()
                os._exit(0)
            os.execvp(argv[0], argv)
        self.resize(columns, lines)

    def resize(self, columns, lines):
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    @property
    def display(self):
        return "\n".join(self._screen.display)

    @property
    def modes(self):
        return termios.tcgetattr(self._fd)[:6]

    def type(self, keys):
        os.write(self._fd, keys.encode())

    def signal(self, number):
        os.kill(self.pid, number)

    def read(self, seconds=0.1):
        """Takes in what comes; False once nobody writes any more."""
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                data = os.read(self._fd, 1 << 16)
            except OSError:
                return False
            self.output += data
            # A query of a mode, which pyte would print.
            self._stream.feed(data.replace(b"\x1b[?2026$p", b"").replace(b"\x1b[?2048$p", b""))
            return bool(data)
        return True

    def until(self, *texts, gone=None, timeout=60):
        """Waits until all of ``texts`` stand on the screen, and ``gone`` does not."""
        deadline = time.monotonic() + timeout
        while not all(text in self.display for text in texts) or (gone is not None and gone in self.display):
            assert time.monotonic() < deadline, f"{texts} not on the screen:\n{self.display}"
            assert self.read(), f"it has ended:\n{self.output.decode(errors='replace')[-2000:]}"
        return self.display

    def end(self, timeout=60):
        """Waits for its end; the exit status, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            assert time.monotonic() < deadline, self.display
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        while select.select([self._fd], [], [], 0)[0] and self.read(0):
            pass
        return self.status

    def hang_up(self, timeout=60):
        """The terminal goes away, as with a lost connection; the exit status then."""
        os.close(self._fd)
        self._fd = -1
        deadline = time.monotonic() + timeout
        while self.status is None:
            assert time.monotonic() < deadline, "it goes on without its terminal"
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return self.status

    def close(self):
        if self.status is None:
            self.signal(signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._fd >= 0:
            os.close(self._fd)
