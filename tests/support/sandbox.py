"""Real seccomp filters, in a child of this process."""

import contextlib
import ctypes
import os
import platform
import signal
import struct

from inetprobe.model.seccomp import Action, Instruction

_PR_SET_NO_NEW_PRIVS, _SECCOMP_SET_MODE_FILTER = 38, 1
_SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
_SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]
#: SECCOMP_FILTER_FLAG_LOG: the kernel logs all that the filter answers but ALLOW
LOGGED = 2

# BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW = Instruction(RETURN, 0, 0, Action.ALLOW)


def of_socket(*program):
    """A filter that asks ``program`` about socket(2) and allows all other calls."""
    skip = len(program)
    return (Instruction(LOAD, 0, 0, 0), Instruction(EQUAL, 1, 0, 41), Instruction(0x05, 0, 0, skip), *program, ALLOW)


def install(program, flags=0):
    """Gives this process a filter, for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    fprog = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if libc.syscall(_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags, ctypes.create_string_buffer(fprog)):
        raise OSError(ctypes.get_errno(), "the filter is refused")


@contextlib.contextmanager
def child(act):
    """The id of a child that has done ``act`` and waits."""
    reader, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    with os.fdopen(reader, "rb") as stream:
        ready = stream.read(1)
    try:
        assert ready == b"1"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        while os.WIFSTOPPED(os.waitpid(pid, 0)[1]):  # a stop that a tracer was told of
            pass


def errnos(filters, requests):
    """What socket(2) really gives under ``filters``, in another process: an errno for each request, 0 for success;
    nothing where a filter has killed it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for program in filters:
                install(program)
            # Python's own socket() adds SOCK_CLOEXEC; the C library's leaves the other registers as they were.
            libc = ctypes.CDLL(None, use_errno=True)
            rest = (ctypes.c_long(0),) * 3
            found = [ctypes.get_errno() if libc.syscall(_SOCKET, *request, *rest) < 0 else 0 for request in requests]
            os.write(writer, struct.pack(f"{len(found)}i", *found))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        raw = stream.read()
    os.waitpid(pid, 0)
    return list(struct.unpack(f"{len(requests) if raw else 0}i", raw))
