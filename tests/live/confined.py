"""Makes calls under a seccomp filter of each action, and one in seccomp's strict mode.

With the argument ``logged`` the filter asks the kernel to log what it refuses.

A line of JSON a call: the system call, family, type, protocol, and the name of the errno, of the signal, or null. The
last call has arguments that cannot be read, and no line.

The filter decides by the family, of the 64-bit calls and of a 32-bit program's; it refuses all of socketcall(2), whose
arguments no filter sees.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path

from inetprobe.base.uapi import errno_name

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.sandbox import ALLOW, EQUAL, LOAD, LOGGED, RETURN, install

LIBC = ctypes.CDLL(None, use_errno=True)
# include/uapi/linux/seccomp.h
ERRNO, TRAP, TRACE, LOG, KILL_THREAD, KILL_PROCESS = 0x50000, 0x30000, 0x7FF00000, 0x7FFC0000, 0, 0x80000000
EPERM, EACCES, EAFNOSUPPORT = 1, 13, 97
I386, SOCKETCALL, SYS_SOCKET, SYS_SOCKETPAIR = 0x40000003, 102, 1, 8
# By the family that is asked for. LOG lets the call pass.
ANSWERS = {2: LOG, 10: ERRNO | EAFNOSUPPORT, 16: ERRNO | EPERM, 17: TRAP, 38: TRACE, 44: KILL_THREAD, 31: KILL_PROCESS}
NUMBERS = {41: "socket", 53: "socketpair", 359: "socket", 360: "socketpair"}
STREAM, RAW, CLOEXEC = 1, 3, 0o2000000
PR_SET_SECCOMP, SECCOMP_MODE_STRICT = 22, 1
MAP_32BIT = 0x40  # arch/x86/include/uapi/asm/mman.h


def program():
    """If the call is one of NUMBERS, the answer to its family; all others but socketcall(2) are allowed."""
    by_32_bit = [(LOAD, 0, 0, 4), (EQUAL, 0, 3, I386), (LOAD, 0, 0, 0), (EQUAL, 0, 1, SOCKETCALL)]
    refused = (RETURN, 0, 0, ERRNO | EACCES)
    checks = [(EQUAL, len(NUMBERS) - index, 0, number) for index, number in enumerate(NUMBERS)]
    answers = [part for family, answer in ANSWERS.items() for part in ((EQUAL, 0, 1, family), (RETURN, 0, 0, answer))]
    return [*by_32_bit, refused, (LOAD, 0, 0, 0), *checks, ALLOW, (LOAD, 0, 0, 16), *answers, ALLOW]


def as_32_bit(number, *arguments):
    """The system call as a 32-bit program makes it: int 0x80 with its number and arguments in the old registers."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("53 89f8 89f3 87d1 cd80 5b c3"))
    call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 4)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    return call(number, *arguments)


def socketcall(which, *arguments):
    """The arguments are in an array, whose address has 32 bits."""
    low = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT)
    array = (ctypes.c_int * len(arguments)).from_buffer(low)
    array[:] = arguments
    return as_32_bit(SOCKETCALL, which, ctypes.addressof(array), 0)


def report(syscall, family, type_, protocol, error):
    print(json.dumps((syscall, family, type_, protocol, error)), flush=True)


def get(result):
    return None if result >= 0 else errno_name(ctypes.get_errno())


def killed(family, prepare=lambda: None):
    """A child makes the call, and is killed."""
    child = os.fork()
    if not child:
        call = LIBC.socket
        prepare()
        call(family, STREAM, 0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    report("socket", family, STREAM, 0, signal.Signals(os.WTERMSIG(status)).name)


def killed_thread(family):
    """One thread of a child makes the call and is killed; the child lives on."""
    child = os.fork()
    if not child:
        outlives = threading.Event()

        def call():
            LIBC.socket(family, STREAM, 0)
            outlives.set()

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        while len(list(Path("/proc/self/task").iterdir())) > 1 and not outlives.is_set():
            time.sleep(0.01)
        os._exit(outlives.is_set())
    _, status = os.waitpid(child, 0)
    report("socket", family, STREAM, 0, None if os.waitstatus_to_exitcode(status) else "SIGSYS")


if __name__ == "__main__":
    signal.signal(signal.SIGSYS, lambda *_: None)
    killed(2, lambda: LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
    install(program(), LOGGED if "logged" in sys.argv else 0)
    report("socket", 2, STREAM, 0, get(LIBC.socket(2, STREAM, 0)))
    report("socket", 10, STREAM | CLOEXEC, 6, get(LIBC.socket(10, STREAM | CLOEXEC, 6)))
    report("socket", 16, RAW, 0, get(LIBC.socket(16, RAW, 0)))
    report("socketpair", 16, STREAM, 0, get(LIBC.socketpair(16, STREAM, 0, ctypes.c_void_p(8))))
    report("socket", 38, STREAM, 0, get(LIBC.socket(38, STREAM, 0)))
    LIBC.socket(17, RAW, 0)
    report("socket", 17, RAW, 0, "SIGSYS")
    killed(44)
    killed(31)
    killed_thread(44)
    result = as_32_bit(359, 10, STREAM, 17)
    report("socket", 10, STREAM, 17, errno_name(-result) if result < 0 else None)
    for name, which in (("socket", SYS_SOCKET), ("socketpair", SYS_SOCKETPAIR)):
        result = socketcall(which, 1, STREAM | CLOEXEC, 5, 0)
        report(name, 1, STREAM | CLOEXEC, 5, errno_name(-result) if result < 0 else None)
    as_32_bit(SOCKETCALL, SYS_SOCKET, 8, 0)
