"""The seccomp filters of a live thread, by ptrace(2) PTRACE_SECCOMP_GET_FILTER: kernel/seccomp.c seccomp_get_filter().

The thread is stopped for the moment that reading takes, and goes on as before.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator

from inetprobe.base.errors import HostError, UsageError
from inetprobe.model.seccomp import Instruction

# include/uapi/linux/ptrace.h; __WALL of include/uapi/linux/wait.h.
_DETACH, _SEIZE, _INTERRUPT, _GET_FILTER = 17, 0x4206, 0x4207, 0x420C
_WALL = 0x40000000
_INSTRUCTION = struct.Struct("=HBBI")
#: A thread that sleeps in the kernel cannot be stopped: the longest that it is waited for.
LIMIT_S = 2.0
_WHY = {
    errno.EPERM: "it is being traced by another process, or is another user's: end that, or run inetprobe as root",
    errno.EACCES: "that takes CAP_SYS_ADMIN, and no filter of inetprobe's own: run inetprobe as root",
    errno.EIO: "this kernel does not give filters away (CONFIG_CHECKPOINT_RESTORE)",
    errno.EMEDIUMTYPE: "the kernel has not kept one of them as it was installed",
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def filters_of(tid: int) -> tuple[tuple[Instruction, ...], ...]:
    """The filters of the thread ``tid``, in the order in which they were installed.

    Raises UsageError where there is no such thread, HostError where its filters cannot be read.
    """
    try:
        with _stopped(tid):
            return tuple(_filters(tid))
    except ProcessLookupError:
        raise UsageError(f"--pid {tid}: there is no such process") from None
    except OSError as error:
        why = _WHY.get(error.errno or 0, os.strerror(error.errno or 0))
        raise HostError(f"the seccomp filters of process {tid} cannot be read: {why}") from None


@contextlib.contextmanager
def _stopped(tid: int) -> Iterator[None]:
    _ptrace(_SEIZE, tid)
    try:
        _ptrace(_INTERRUPT, tid)
        deadline = time.monotonic() + LIMIT_S
        while os.waitpid(tid, _WALL | os.WNOHANG)[0] != tid:
            if time.monotonic() > deadline:
                raise HostError(f"process {tid} sleeps in the kernel and cannot be stopped: try again")
            time.sleep(0.001)
        yield
    finally:
        with contextlib.suppress(OSError):  # it has ended; where it was not stopped, our own end detaches it
            _ptrace(_DETACH, tid)


def _filters(tid: int) -> Iterator[tuple[Instruction, ...]]:
    index = 0
    while True:
        try:
            length = _ptrace(_GET_FILTER, tid, index)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):  # no more; none at all
                return
            raise
        code = ctypes.create_string_buffer(length * _INSTRUCTION.size)
        _ptrace(_GET_FILTER, tid, index, ctypes.addressof(code))
        yield tuple(Instruction(*fields) for fields in _INSTRUCTION.iter_unpack(code.raw))
        index += 1


def _ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    result: int = _libc.ptrace(request, tid, address, data)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
