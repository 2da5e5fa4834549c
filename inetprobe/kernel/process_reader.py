"""The process that reads other processes: it names their frames, and counts their descriptors.

Both take capabilities, and libbcc parses files that strangers wrote. So the tracer itself does neither: it forks a
process before it has anything open, which keeps these two capabilities and nothing else and forks workers. A worker has
a limit of memory and of time; where it dies of a stranger's file, the question is asked once more of a fresh one, and
then is answered as unreadable.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from inetprobe.base.descriptors import close_others
from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.frames.user_frames import MAX_FRAME, FileSymbols, MappedProcess, UserSymbols
from inetprobe.kernel.host.confinement import Kept, confine
from inetprobe.kernel.host.open_files import held_by
from inetprobe.record.layout import define
from inetprobe.record.stacks import LOSSES, UNREADABLE, Side

_LIMIT_S = 5
#: Bytes that a worker may map beyond those it begins with.
_MEMORY = 1 << 29
_MOST_ANSWERED = 1 << 20
_READY = b"!"
# bcc before 0.33 leaves ProcSyms::ModulePath::fd_ of src/cc/syms.h unset for a file outside the process's mount
# namespace, and then closes any descriptor whose number happens to be there: a low one, if any.
_WORKER_S_DESCRIPTOR = 1000


class ProcessReader:
    """Answers about other processes, in the tracer. Not thread-safe."""

    def __init__(self, open_symbols: Callable[[int], FileSymbols] | None = None) -> None:
        """Forks the process: to be called before a thread is started, and before capabilities are dropped.

        ``open_symbols`` opens the symbols of a process by its id; None where no frames will be named. Raises
        InetprobeError where the process cannot give up its rights.
        """
        self._control, theirs = socket.socketpair()
        if not os.fork():
            _run(theirs, open_symbols)
        theirs.close()
        self._worker: Connection | None = None
        if (said := self._control.recv(1000)) != _READY:
            raise InetprobeError(f"no process can be started that reads others: {said.decode(errors='replace')}")

    def named(self, process: MappedProcess, addresses: Sequence[int], caller: int) -> Side:
        """The frames' names: see UserSymbols. Unreadable where a worker died of it, or said nothing in time."""
        answer = self._ask(["named", *process, list(addresses), caller])
        if not _is_side(answer):
            return Side((), UNREADABLE)
        frames, lost = answer
        return Side(tuple(frames), lost)

    def held_by(self, pid: int) -> str:
        """What a process holds now: see open_files."""
        answer = self._ask(["held_by", pid])
        return answer if isinstance(answer, str) else f"the descriptors of process {pid} could not be counted in time"

    def close(self) -> None:
        """Ends the process. Idempotent."""
        self._drop_worker()
        self._control.close()

    def _ask(self, question: list[object]) -> Any:
        """The answer; None where two workers gave none."""
        for _ in range(2):
            try:
                worker = self._worker = self._worker or self._new_worker()
                worker.send_bytes(json.dumps(question).encode())
                if worker.poll(_LIMIT_S + 1):
                    return json.loads(worker.recv_bytes(_MOST_ANSWERED))
                self._drop_worker()
                return None  # a second one would take as long
            except (EOFError, OSError, ValueError, RecursionError):
                self._drop_worker()
        return None

    def _new_worker(self) -> Connection:
        """Raises OSError where the process is gone."""
        self._control.sendall(b"?")
        _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not descriptors:
            raise EOFError
        return Connection(descriptors[0])

    def _drop_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _is_side(answer: object) -> bool:
    match answer:
        case [list(frames), None | str() as lost]:
            named = all(isinstance(frame, str) and len(frame) <= MAX_FRAME for frame in frames)
            return named and len(frames) <= define("USER_FRAMES") + 1 and (lost is None or lost in LOSSES)
    return False


def _run(control: socket.socket, open_symbols: Callable[[int], FileSymbols] | None) -> None:
    """The process that keeps the capabilities; it must not return or raise."""
    try:
        gc.freeze()  # an inherited file object, collected here, would close a descriptor that has its number again
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends with the tracer
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        close_others(control.fileno())
        try:
            confine(Kept(reads_processes=True))
        except InetprobeError as error:
            control.sendall(str(error).encode(errors="replace"))
            return
        control.sendall(_READY)
        while control.recv(1):
            ours, theirs = socket.socketpair()
            if not os.fork():
                control.close()
                ours.close()
                _work(theirs, open_symbols)
            theirs.close()
            with ours:
                socket.send_fds(control, [_READY], [ours.fileno()])
    finally:
        os._exit(0)


def _work(asked: socket.socket, open_symbols: Callable[[int], FileSymbols] | None) -> None:
    os.dup2(asked.fileno(), _WORKER_S_DESCRIPTOR)
    asked.close()
    tracer = Connection(_WORKER_S_DESCRIPTOR)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    symbols = None if open_symbols is None else UserSymbols(open_symbols)
    while True:
        name, *arguments = json.loads(tracer.recv_bytes())
        signal.alarm(_LIMIT_S)
        answer: object
        if name == "held_by":
            answer = held_by(*arguments)
        else:
            assert symbols is not None
            pid, start_ns, start_stack, addresses, caller = arguments
            answer = symbols.named(MappedProcess(pid, start_ns, start_stack), addresses, caller)
        signal.alarm(0)
        tracer.send_bytes(json.dumps(answer).encode())
