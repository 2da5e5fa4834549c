"""The BPF programs on this machine, without the kernel: a test calls them as the kernel would (``played.c``)."""

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np

from inetprobe.kernel.host.btf import offsets
from inetprobe.kernel.maps.counters import CPU_COUNTERS
from inetprobe.record.cheader import bpf_folder
from inetprobe.record.layout import SLOTS, SLOTS_ALSO, define, record_dtype
from tests.support.variants import BTF, variant

STACK = 1 << 15
TASK_BYTES = 1 << 14
OFFSETS = offsets(BTF)
_PTRACE = (bpf_folder() / "include/asm/ptrace.h").read_text()
# The members of struct pt_regs.
REGISTERS = re.findall(r"(\w+)[,;]", re.findall(r"struct pt_regs \{(.*?)\}", _PTRACE, re.DOTALL)[0])
ARGUMENTS = ("di", "si", "dx", "cx", "r8")


class Played:
    """The programs of a case of ``variants``, on one CPU; traces may begin. Whatever ran before is forgotten."""

    @staticmethod
    def compile(folder, case, **constants):
        """The programs as a library in ``folder``, with ``constants`` in the place of the case's."""
        defines, _, _ = variant(case)
        defines += [f"-D{name}={value}" for name, value in constants.items()]
        library = folder / "programs.so"
        command = ["clang", "-shared", "-fPIC", "-O1", "-w", f"-I{bpf_folder()}/include", "-iquote", bpf_folder()]
        subprocess.run([*command, *defines, Path(__file__).with_suffix(".c"), "-o", library], check=True)
        return ctypes.CDLL(library)

    def __init__(self, programs, case):
        """``programs``: what ``compile`` made of this case."""
        self._programs = programs
        programs.forget()
        self._fentry = case[1] == "fentry"
        self._dtype = record_dtype(SLOTS_ALSO if case[0] == "also" else SLOTS)
        self._memory = []
        #: The kernel's stack of every thread, aligned as the kernel does it.
        self.stack = -(-ctypes.addressof(self._block(2 * STACK)) // STACK) * STACK
        self.net = ctypes.addressof(self._block(TASK_BYTES))
        self._counters = np.ndarray(1, CPU_COUNTERS, self._global("counters", CPU_COUNTERS.itemsize))
        self.begin(on=True)
        self.run_on(self.new_task())

    def begin(self, *, on):
        """Lets traces begin, or no longer, as Counters.begin() does."""
        self._counters["on"] = on

    def _block(self, size):
        self._memory.append(ctypes.create_string_buffer(size))
        return self._memory[-1]

    def _global(self, name, size):
        return (ctypes.c_char * size).in_dll(self._programs, name)

    def _word(self, name):
        return ctypes.c_uint64.in_dll(self._programs, name)

    def new_task(self, comm=b""):
        """The address of a struct task_struct that starts now."""
        task = ctypes.addressof(self._block(TASK_BYTES))
        self.start(task)
        ctypes.memmove(task + OFFSETS["OFF_TASK_COMM"], comm.ljust(16, b"\0"), 16)
        return task

    def start(self, task):
        """The thread that has this task_struct starts now."""
        now = self._word("now_ns")
        now.value += 1
        ctypes.memmove(task + OFFSETS["OFF_TASK_START"], now.value.to_bytes(8, "little"), 8)
        now.value += 1

    def run_on(self, task):
        """The thread that calls from now on."""
        self._word("current_task").value = task

    def struct(self, **members):
        """The address of a structure of which these bytes are known, by the -D of their offset."""
        address = ctypes.addressof(self._block(TASK_BYTES))
        for name, value in members.items():
            ctypes.memmove(address + OFFSETS[name], value, len(value))
        return address

    def socket(self, type_):
        """The address of a struct socket."""
        return self.struct(OFF_SOCKET_TYPE=type_.to_bytes(2, "little"))

    def enter(self, function, at, *arguments):
        """A thread enters a traced function, ``at`` bytes above its stack's lowest."""
        self._run(f"entry_{function}", at, arguments, dict(zip(ARGUMENTS, arguments, strict=False)))

    def leave(self, function, at, result, arguments=0):
        """It returns from the function that has so many ``arguments``."""
        result %= 1 << 64
        self._run(f"return_{function}", at + 8 * (not self._fentry), [0] * arguments + [result], {"ax": result})

    def _run(self, program, at, words, registers):
        if self._fentry and "request_module" not in program:
            context = (ctypes.c_uint64 * 8).from_address(self.stack + at)
            context[: len(words)] = words
        else:
            values = registers | {"sp": self.stack + at}
            context = (ctypes.c_uint64 * len(REGISTERS))(*(values.get(name, 0) for name in REGISTERS))
        getattr(self._programs, program)(ctypes.byref(context))

    def count(self, name):
        """The counter COUNT_<NAME> of bpf/record.h."""
        return int(self._counters["value"][0, define(f"COUNT_{name.upper()}")])

    def outside(self, member):
        """``sk_alloc_outside`` or ``sk_prot_alloc_outside`` of bpf/counters.h: the families with their counts."""
        return {family: int(n) for family, n in enumerate(self._counters[member][0]) if n}

    @property
    def records(self):
        """Those that were sent, in order."""
        submitted = ctypes.c_uint32.in_dll(self._programs, "submitted").value
        return np.ndarray(submitted, self._dtype, self._global("sent", submitted * self._dtype.itemsize)).copy()

    @property
    def unpreempted(self):
        """Is the kernel kept from preempting, now and as each of the records was submitted?"""
        submitted = len(self.records)
        at = np.ndarray(submitted, "i8", self._global("unpreempted_at", 8 * submitted))
        return self._word("unpreempted").value, at.tolist()

    @property
    def ended_before(self):
        """As each of them was submitted, how many traces had ended."""
        return np.ndarray(len(self.records), "u8", self._global("ended_before", 8 * len(self.records))).tolist()
