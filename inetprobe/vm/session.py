"""One boot of the VM: its process, the ports, the console, signals and time limits, in one poll loop."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inetprobe.base.errors import VmError
from inetprobe.base.signals import handled
from inetprobe.vm.guest import protocol
from inetprobe.vm.guest_messages import Booted, Ended, Message, MessageError, MessageReader
from inetprobe.vm.qemu import MONITOR
from inetprobe.vm.streams import CHUNK, Console, StdinFeed, write_all

GRACE_S = 10.0
"""How long the command may take to end after Ctrl-C before the VM is ended."""
STOP_S = 3.0
"""How long qemu may take to end after each request, before a stronger one follows."""
MOST_TASKS = 4
"""Tasks of the compiler port that are compiled at once; a guest that sends more gets no answer to them."""
TASK_BYTES = 1 << 20
"""The longest task; a longer one is dropped."""
PIPE_CLOSED = 128 + signal.SIGPIPE

BuildArgv = Callable[[dict[str, int]], list[str]]
"""From the descriptor of each port (and the monitor) to the argument list that starts the VM."""
Compile = Callable[[bytes], bytes]
"""From a task of the compiler port to its answer, a line each; called in a thread of its own."""


class BootError(VmError):
    """The VM ended, or was ended, before it ran the command."""


@contextmanager
def caught_signals() -> Iterator[tuple[int, list[int]]]:
    """While the block runs: a descriptor to poll for SIGINT, SIGTERM and SIGHUP, and the list of those received."""
    received: list[int] = []
    reader, writer = socket.socketpair()
    with reader, writer:
        if threading.current_thread() is not threading.main_thread():
            yield reader.fileno(), received  # only the main thread can have handlers
            return
        writer.setblocking(False)
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            wanted.append(signal.SIGHUP)
        with handled(wanted, lambda number, _frame: received.append(number)):
            wakeup = signal.set_wakeup_fd(writer.fileno())
            try:
                yield reader.fileno(), received
            finally:
                signal.set_wakeup_fd(wakeup)


class QemuProcess:
    """``virtme-run`` and the qemu it starts, in a session of their own, and our end of their ports and console."""

    def __init__(self, build_argv: BuildArgv) -> None:
        pairs = {name: socket.socketpair() for name in (*protocol.PORTS, MONITOR)}
        self.ports = {name: near for name, (near, _far) in pairs.items()}
        far = {name: end.fileno() for name, (_near, end) in pairs.items()}
        self.console, console_end = os.pipe()
        search = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")
        try:
            self._popen = subprocess.Popen(
                build_argv(far),
                stdin=subprocess.DEVNULL,
                stdout=console_end,
                stderr=console_end,
                pass_fds=tuple(far.values()),
                env=os.environ | {"PATH": ":".join(search)},
                start_new_session=True,  # we pass Ctrl-C on: it must not end qemu itself
            )
        finally:
            os.close(console_end)
            for _near, end in pairs.values():
                end.close()  # open only in the VM's process, so that its death is an end of file here

    def receive(self, port: str) -> bytes:
        """The bytes that have arrived at ``port``; empty once qemu has ended."""
        try:
            return self.ports[port].recv(CHUNK)
        except ConnectionResetError:  # it ended before it had read all our bytes
            return b""

    def stop(self) -> None:
        """Ends qemu and then virtme-run, by force if need be; no process of the VM is left."""
        if not self._quit() or not self._ended():
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not self._signal_group(number) or self._ended():
                    break
        self._popen.wait()
        for port in self.ports.values():
            port.close()
        os.close(self.console)

    def _quit(self) -> bool:
        """Asks qemu's monitor to end it: then its parent, virtme-run, reaps it and cleans up. False if it has ended."""
        try:
            self.ports[MONITOR].sendall(b"quit\n")
        except BrokenPipeError:
            return False  # it has ended already
        return True

    def _signal_group(self, number: int) -> bool:
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _ended(self) -> bool:
        """Has every process with the console ended? qemu is not our child, so it cannot be waited for."""
        deadline = time.monotonic() + STOP_S
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.console], [], [], left)[0]:
                break
            if not os.read(self.console, CHUNK):
                return True
        return False


class Session:
    """A VM from its start to its end.

    ``run`` blocks until the command has ended and every byte of its output was written, then ends the VM and returns
    the command's exit status. It raises BootError if the command was never started, VmError if the VM died later.
    The first Ctrl-C (or SIGTERM, SIGHUP) goes to the command, which may take its time; a second one ends the VM.
    """

    def __init__(
        self,
        build_argv: BuildArgv,
        job: protocol.Job,
        console: Console,
        compile_: Compile,
        *,
        boot_timeout_s: float,
        silence_s: float | None = None,
        timeout_s: float | None = None,
        on_booted: Callable[[str], None],
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self._console = console
        self._compile = compile_
        self._boot_timeout_s = boot_timeout_s
        self._silence_s = silence_s
        self._timeout_s = timeout_s
        self._on_booted = on_booted
        self._on_tick = on_tick
        self._booted = False
        self._status: int | None = None
        self._owed: dict[str, int] = {}
        self._stopped_by: int | None = None
        self._messages = MessageReader()
        self._task = b""
        self._compiling = threading.BoundedSemaphore(MOST_TASKS)
        self._started = self._heard = time.monotonic()
        self._deadline: float | None = self._boot_deadline()
        self._process = QemuProcess(build_argv)
        ports = self._process.ports
        self._stdin = StdinFeed(ports[protocol.STDIN])
        self._readers: dict[int, Callable[[int], bool]] = {
            self._process.console: self._read_console,
            ports[protocol.CONTROL].fileno(): self._read_control,
            ports[protocol.STDOUT].fileno(): lambda fd: self._relay(fd, protocol.STDOUT, 1),
            ports[protocol.STDERR].fileno(): lambda fd: self._relay(fd, protocol.STDERR, 2),
            ports[protocol.COMPILER].fileno(): self._read_task,
        }
        self._received = {protocol.STDOUT: 0, protocol.STDERR: 0}
        ports[protocol.CONTROL].sendall(job.to_line())

    def run(self) -> int:
        """Runs the VM to its end; see the class."""
        try:
            with caught_signals() as (wakeup, signals):
                while not self._complete():
                    self._step(wakeup)
                    while signals and not self._complete():
                        self._interrupt(signals.pop(0))
                    self._check_time()
        except BrokenPipeError:
            return PIPE_CLOSED  # the reader of our output has ended (| head): the VM ends quietly
        finally:
            self._process.stop()
        assert self._status is not None
        return self._status

    def _complete(self) -> bool:
        """Has the command ended, and has all its output arrived?"""
        return self._status is not None and all(self._received[port] >= owed for port, owed in self._owed.items())

    def _step(self, wakeup: int) -> None:
        """Waits for the next events, and handles them."""
        poll = select.poll()
        for fd in (wakeup, *self._readers):
            poll.register(fd, select.POLLIN)
        feeding = self._stdin.wants() if self._booted else None
        if feeding is not None:
            poll.register(*feeding)
        for fd, _events in poll.poll(self._wait_ms()):
            if fd == wakeup:
                os.read(wakeup, CHUNK)
            elif feeding is not None and fd == feeding[0]:
                self._stdin.move()
            elif not self._readers[fd](fd):
                del self._readers[fd]
        if self._process.console not in self._readers and len(self._readers) == 0:
            self._died()

    def _wait_ms(self) -> float | None:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000
        if self._on_tick is None or self._booted:
            return left
        return 1000.0 if left is None else min(1000.0, left)

    def _read_console(self, fd: int) -> bool:
        data = os.read(fd, CHUNK)
        self._console.feed(data)
        self._heard = time.monotonic()
        if not self._booted:
            self._deadline = self._boot_deadline()
        return bool(data)

    def _boot_deadline(self) -> float:
        """When to give up the boot: at its time limit, or when the console has been silent for too long."""
        limit = self._started + self._boot_timeout_s
        return limit if self._silence_s is None else min(limit, self._heard + self._silence_s)

    def _relay(self, fd: int, port: str, target: int) -> bool:
        data = self._process.receive(port)
        self._received[port] += len(data)
        write_all(target, data)
        return bool(data)

    def _read_control(self, _fd: int) -> bool:
        data = self._process.receive(protocol.CONTROL)
        try:
            for message in self._messages.feed(data):
                self._take(message)
        except MessageError as error:
            raise self._failure(
                f"the VM sent what is no message of inetprobe's agent ({error}): run it again without the program in "
                f"it that writes to the port {protocol.CONTROL}",
                VmError,
            ) from None
        return bool(data)

    def _take(self, message: Message) -> None:
        match message:
            case Booted(release):
                self._booted = True
                self._deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
                self._on_booted(release)
            case Ended(status, stdout, stderr):
                self._end(status, {protocol.STDOUT: stdout, protocol.STDERR: stderr})

    def _read_task(self, _fd: int) -> bool:
        data = self._process.receive(protocol.COMPILER)
        *tasks, rest = (self._task + data).split(b"\n")
        self._task = rest if len(rest) <= TASK_BYTES else b""
        for task in tasks:
            if self._compiling.acquire(blocking=False):
                threading.Thread(target=self._answer, args=(task,), daemon=True).start()
        return bool(data)

    def _answer(self, task: bytes) -> None:
        try:
            answer = self._compile(task) + b"\n"
            with suppress(OSError):  # the VM has ended meanwhile
                self._process.ports[protocol.COMPILER].sendall(answer)
        finally:
            self._compiling.release()

    def _end(self, status: int, owed: dict[str, int]) -> None:
        """The command has ended with ``status``; ``owed``: the bytes it wrote to each port."""
        self._status = status
        self._owed = owed

    def _interrupt(self, number: int) -> None:
        """Passes the first signal on to the command; ends the VM at the second, or where no command runs yet."""
        if not self._booted or self._stopped_by is not None:
            self._end(128 + number, {})
            return
        self._stopped_by = number
        self._deadline = time.monotonic() + GRACE_S
        self._process.ports[protocol.CONTROL].sendall(protocol.line({"signal": number}))

    def _check_time(self) -> None:
        if self._on_tick is not None and not self._booted:
            self._on_tick()
        if self._complete() or self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._stopped_by is not None:
            self._end(128 + self._stopped_by, {})
        elif self._booted:
            raise self._failure(f"the VM did not finish within {self._timeout_s:g} s", VmError)
        else:
            raise self._failure(f"the VM had not booted after {time.monotonic() - self._started:.0f} s", BootError)

    def _died(self) -> None:
        if self._complete():
            return
        if self._booted:
            raise self._failure("the VM died under the command", VmError)
        raise self._failure("the VM ended before it had booted", BootError)

    def _failure(self, sentence: str, error: type[VmError]) -> VmError:
        return error(f"{sentence}; the last lines of its console:\n{self._console.last_lines()}")
