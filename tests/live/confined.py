"""Makes calls under a seccomp filter of each action.

A line of JSON a call: the system call, family, type, protocol, and the name of the errno, ``SIGSYS``, or null.

The filter decides by the family, of the 64-bit calls and of a 32-bit program's.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
from pathlib import Path

from inetprobe.base.uapi import errno_name

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.sandbox import ALLOW, EQUAL, LOAD, RETURN, install

LIBC = ctypes.CDLL(None, use_errno=True)
# include/uapi/linux/seccomp.h
ERRNO, TRAP, TRACE, KILL_THREAD, KILL_PROCESS = 0x50000, 0x30000, 0x7FF00000, 0, 0x80000000
EPERM, EAFNOSUPPORT = 1, 97
# By the family that is asked for.
ANSWERS = {10: ERRNO | EAFNOSUPPORT, 16: ERRNO | EPERM, 17: TRAP, 38: TRACE, 44: KILL_THREAD, 31: KILL_PROCESS}
NUMBERS = {41: "socket", 53: "socketpair", 359: "socket", 360: "socketpair"}
STREAM, RAW, CLOEXEC = 1, 3, 0o2000000


def program():
    """If the call is one of NUMBERS, the answer to its family; all others are allowed."""
    checks = [(EQUAL, len(NUMBERS) - index, 0, number) for index, number in enumerate(NUMBERS)]
    answers = [part for family, answer in ANSWERS.items() for part in ((EQUAL, 0, 1, family), (RETURN, 0, 0, answer))]
    return [(LOAD, 0, 0, 0), *checks, ALLOW, (LOAD, 0, 0, 16), *answers, ALLOW]


def as_32_bit(number, *arguments):
    """The system call as a 32-bit program makes it: int 0x80 with its number and arguments in the old registers."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("53 89f8 89f3 87d1 cd80 5b c3"))
    call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 4)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    return call(number, *arguments)


def report(syscall, family, type_, protocol, error):
    print(json.dumps((syscall, family, type_, protocol, error)), flush=True)


def get(result):
    return None if result >= 0 else errno_name(ctypes.get_errno())


def killed(family):
    """A child makes the call, and is killed."""
    child = os.fork()
    if not child:
        LIBC.socket(family, STREAM, 0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    report("socket", family, STREAM, 0, "SIGSYS" if os.WTERMSIG(status) == signal.SIGSYS else None)


if __name__ == "__main__":
    signal.signal(signal.SIGSYS, lambda *_: None)
    install(program())
    report("socket", 2, STREAM, 0, get(LIBC.socket(2, STREAM, 0)))
    report("socket", 10, STREAM | CLOEXEC, 6, get(LIBC.socket(10, STREAM | CLOEXEC, 6)))
    report("socket", 16, RAW, 0, get(LIBC.socket(16, RAW, 0)))
    report("socketpair", 16, STREAM, 0, get(LIBC.socketpair(16, STREAM, 0, ctypes.c_void_p(8))))
    report("socket", 38, STREAM, 0, get(LIBC.socket(38, STREAM, 0)))
    LIBC.socket(17, RAW, 0)
    report("socket", 17, RAW, 0, "SIGSYS")
    killed(44)
    killed(31)
    result = as_32_bit(359, 10, STREAM, 17)
    report("socket", 10, STREAM, 17, errno_name(-result) if result < 0 else None)
