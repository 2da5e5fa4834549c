"""A program of two instructions, loaded and attached by each mechanism as the real one would be, in a child process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.host.syscall import ProgramType
from inetprobe.kernel.program.log import verifier_error

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: C of the shortest program, and its function.
TEXT, NAME = "int trial(void *ctx) { return 0; }\n", "trial"
#: Seconds for a compilation or an attachment: an emulated machine takes ten to map LLVM.
LIMIT_S = 60.0


def kprobes(folder: Path | None, function: str, code: bytes = syscall.RETURN_0) -> None:
    """Attaches to the entry and to the return of ``function`` and detaches; ``folder`` as for ``Kprobe.attach``.

    Raises OSError, ProgramRefused.
    """
    program = syscall.load_program(syscall.KPROBE, NAME, code)
    try:
        for maxactive in (None, 1):
            Kprobe.attach(folder, program, function, 0, maxactive).close()
    finally:
        os.close(program)


def trampoline(type_: ProgramType, btf_id: int, code: bytes = syscall.RETURN_0) -> None:
    """Attaches by fentry or fexit to the function ``btf_id`` and detaches. Raises OSError, ProgramRefused."""
    program = syscall.load_program(type_, NAME, code, btf_id)
    try:
        os.close(syscall.attach(program))
    finally:
        os.close(program)


def tracepoint(event: str, code: bytes = syscall.RETURN_0) -> None:
    """Attaches to a raw tracepoint and detaches. Raises OSError, ProgramRefused."""
    program = syscall.load_program(syscall.RAW_TRACEPOINT, NAME, code)
    try:
        os.close(syscall.attach(program, event))
    finally:
        os.close(program)


def failure(attempt: Callable[[], None]) -> str | None:
    """Why ``attempt`` fails here with an OSError; None where it does not."""
    try:
        attempt()
    except syscall.ProgramRefused as error:
        return f"it is not loaded: {verifier_error(error.log) or error.strerror}"
    except OSError as error:
        return f"it is not attached: {error.strerror}"
    return None


def failure_in_child(attempt: Callable[[], None], limit_s: float = LIMIT_S) -> str | None:
    """The ``failure`` of ``attempt`` in a process of its own, which may die or hang of it."""
    import multiprocessing  # of use to doctor alone

    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(attempt, writer), daemon=True)
    child.start()
    writer.close()
    with reader:
        child.join(limit_s)
        if child.is_alive():
            child.kill()
            child.join(limit_s)
            return f"it was not done after {limit_s:g} s"
        status = child.exitcode or 0
        if status < 0:
            return f"the process died of {signal.Signals(-status).name}"
        if status:  # multiprocessing has printed the traceback
            return f"the process ended with status {status}"
        answer: str | None = reader.recv()
        return answer


def _report(attempt: Callable[[], None], writer: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it detaches first
    writer.send(failure(attempt))
