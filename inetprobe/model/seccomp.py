"""seccomp filters, run as the kernel runs them before a system call: kernel/seccomp.c, seccomp_run_filters().

A filter is a program for the classic BPF machine over ``struct seccomp_data``, of include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

#: By machine, as uname has it: AUDIT_ARCH_* of include/uapi/linux/audit.h, and the numbers of the system calls.
SOCKET_CALLS: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "x86_64": (0xC000003E, {"socket": 41, "socketpair": 53}),
    "aarch64": (0xC00000B7, {"socket": 198, "socketpair": 199}),
}

# struct seccomp_data: int nr, __u32 arch, __u64 instruction_pointer, __u64 args[6].
_DATA = struct.Struct("=iIQ6Q")
_WORDS = _DATA.size // 4
_U32 = 0xFFFFFFFF
_MEMORY = 16  # BPF_MEMWORDS
# include/linux/err.h; SECCOMP_RET_ERRNO gives at most this.
_MAX_ERRNO = 4095


class Action(IntEnum):
    """SECCOMP_RET_*, as the kernel compares them: the lowest of all filters' is taken."""

    KILL_PROCESS = -0x80000000
    KILL_THREAD = 0
    TRAP = 0x30000
    ERRNO = 0x50000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000


_ACTIONS = frozenset(Action)


class Instruction(NamedTuple):
    """``struct sock_filter``."""

    code: int
    jt: int
    jf: int
    k: int


#: In the order in which the thread's filters were installed.
Filters = Sequence[Sequence[Instruction]]


class FilterAnswer(NamedTuple):
    """What the filters answer to a call: the action and its data, and the number of the filter, from 1, that decided.

    ``filter`` counts in the order of installation, ``filters`` is the number of them all.
    """

    action: Action
    data: int
    filter: int
    filters: int

    @property
    def passes(self) -> bool:
        """Does the call go on?"""
        return self.action in (Action.ALLOW, Action.LOG)

    @property
    def errno(self) -> int:
        """The errno of the call; 0 where it has none: it goes on, or never returns, or another process decides."""
        if self.action is Action.TRACE:
            return errno.ENOSYS  # there is no tracer: filters are read by ptrace(2), which takes one at a time
        return self.data if self.action is Action.ERRNO else 0


def answer(
    filters: Filters, machine: str, family: int, type_: int, protocol: int, syscall: str = "socket"
) -> FilterAnswer:
    """What ``filters``, one or more, answer to socket(family, type_, protocol) on ``machine``, one of SOCKET_CALLS.

    ``syscall`` may be ``socketpair``, whose array no filter can read: its address counts as 0. Raises ValueError for a
    filter that the kernel would not have taken.
    """
    arch, numbers = SOCKET_CALLS[machine]
    # The system call's registers: an int fills the low half of one, as C compilers leave it.
    data = _DATA.pack(numbers[syscall], arch, 0, *(value & _U32 for value in (family, type_, protocol)), 0, 0, 0)
    words = struct.unpack(f"={_WORDS}I", data)
    # The newest filter runs first, and keeps its answer against an older one that is no lower.
    results = [(_signed(run(program, words)), index) for index, program in enumerate(filters, 1)]
    lowest, index = min(reversed(results), key=lambda result: result[0] >> 16)
    action, value = lowest >> 16 << 16, lowest & 0xFFFF
    known = Action(action) if action in _ACTIONS else Action.KILL_PROCESS  # as __seccomp_filter() takes them
    return FilterAnswer(known, min(value, _MAX_ERRNO) if known is Action.ERRNO else value, index, len(filters))


def _signed(result: int) -> int:
    return result - (1 << 32) if result >> 31 else result


# Of include/uapi/linux/bpf_common.h: the operation of BPF_ALU and BPF_JMP instructions.
_ALU: Mapping[int, Callable[[int, int], int]] = {
    0x00: lambda a, x: a + x,
    0x10: lambda a, x: a - x,
    0x20: lambda a, x: a * x,
    0x30: lambda a, x: a // x,
    0x40: lambda a, x: a | x,
    0x50: lambda a, x: a & x,
    0x60: lambda a, x: a << (x & 31),
    0x70: lambda a, x: a >> (x & 31),
    0x80: lambda a, x: -a,
    0xA0: lambda a, x: a ^ x,
}
_JUMP: Mapping[int, Callable[[int, int], bool]] = {
    0x10: lambda a, x: a == x,
    0x20: lambda a, x: a > x,
    0x30: lambda a, x: a >= x,
    0x40: lambda a, x: bool(a & x),
}


def run(program: Sequence[Instruction], words: Sequence[int]) -> int:
    """What ``program`` returns for ``words``, the 32-bit words of a struct seccomp_data.

    Raises ValueError for a program that seccomp_check_filter() refuses.
    """
    a = x = at = 0
    memory = [0] * _MEMORY
    while at < len(program):
        code, jt, jf, k = program[at]
        at += 1
        class_, source = code & 0x07, x if code & 0x08 else k
        if code == 0x20 and k % 4 == 0 and k // 4 < len(words):  # BPF_LD | BPF_W | BPF_ABS
            a = words[k // 4]
        elif code in (0x80, 0x81):  # BPF_LD or BPF_LDX | BPF_W | BPF_LEN
            a, x = (_DATA.size, x) if code == 0x80 else (a, _DATA.size)
        elif code in (0x00, 0x01):  # BPF_LD or BPF_LDX | BPF_IMM
            a, x = (k, x) if code == 0x00 else (a, k)
        elif code in (0x60, 0x61) and k < _MEMORY:  # BPF_LD or BPF_LDX | BPF_MEM
            a, x = (memory[k], x) if code == 0x60 else (a, memory[k])
        elif code in (0x02, 0x03) and k < _MEMORY:  # BPF_ST, BPF_STX
            memory[k] = a if code == 0x02 else x
        elif code == 0x07:  # BPF_MISC | BPF_TAX
            x = a
        elif code == 0x87:  # BPF_MISC | BPF_TXA
            a = x
        elif code in (0x06, 0x16):  # BPF_RET | BPF_K, BPF_A
            return k if code == 0x06 else a
        elif code == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif class_ == 0x05 and code & 0xF0 in _JUMP:
            at += jt if _JUMP[code & 0xF0](a, source) else jf
        elif class_ == 0x04 and code & 0xF0 in _ALU:
            if code & 0xF0 == 0x30 and source == 0:
                return 0  # as sk_run_filter() did, and the converted program does
            a = _ALU[code & 0xF0](a, source) & _U32
        else:
            raise ValueError(f"a seccomp filter has the instruction {code:#x} {k:#x}, which the kernel does not take")
    raise ValueError("a seccomp filter ends without an answer")
