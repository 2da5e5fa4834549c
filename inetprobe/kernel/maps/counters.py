"""The in-kernel counters, read from mapped memory: no system call, so no kprobe program is ever skipped for it."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from inetprobe.base.uapi import FAMILIES as FAMILY_NAMES
from inetprobe.kernel.host.syscall import create_value
from inetprobe.record.batch import Loss
from inetprobe.record.layout import PRODUCERS, define

# struct cpu_counters of bpf/counters.h: the first word of each member, in order.
_ON = define("COUNTERS")
_OTHER = _ON + 1 + PRODUCERS
_FAMILIES = define("FAMILIES")
_OUTSIDE = _OTHER + _FAMILIES
_WORDS = _OUTSIDE + _FAMILIES
# The head of struct slot of bpf/thread.h, likewise: all the counts that threads keep where they meet.
_PROGRAMS = define("PROGRAMS")
_INET_FAMILIES = (2, 10)
_ALLOCATED, _CLONED = _PROGRAMS, _PROGRAMS + len(_INET_FAMILIES)
# How many slots there are: 2 to this.
_SLOT_BITS = 10

LOST = {
    "ring_full": define("COUNT_LOST_RING_FULL"),
    "no_state": define("COUNT_LOST_NO_STATE"),
    "return_missed": define("COUNT_LOST_RETURN_MISSED"),
    "thread_died": define("COUNT_LOST_THREAD_DIED"),
}


def map_memory(fd: int, size: int, *, writable: bool = False) -> mmap.mmap:
    """The memory of a BPF array made with BPF_F_MMAPABLE, ``size`` bytes in whole pages. Raises OSError."""
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return mmap.mmap(fd, pages, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))


def map_array(fd: int, entries: int, words: int, *, writable: bool = False) -> tuple[mmap.mmap, npt.NDArray[np.uint64]]:
    """Such an array as ``[entries, words]`` of u64. Raises OSError."""
    memory = map_memory(fd, entries * words * 8, writable=writable)
    return memory, np.frombuffer(memory, "<u8", entries * words).reshape(entries, words)


class Counters:
    """Sums over the CPUs of ``struct cpu_counters``, and over the slots of ``struct slot``."""

    def __init__(self, cpus: int, calls: int, create: Callable[[int], int] = create_value) -> None:
        """For so many CPUs, and traces that hold so many calls; ``create`` makes a map of one value of so many bytes
        and gives its file descriptor. Raises OSError.
        """
        self._slot_bytes = 1280 + 32 * calls  # room for a struct slot; the program asserts it
        with contextlib.ExitStack() as undo:
            self._fd = create(cpus * _WORDS * 8)
            undo.callback(os.close, self._fd)
            self._slots_fd = create(self._slot_bytes << _SLOT_BITS)
            undo.callback(os.close, self._slots_fd)
            self._memory, self._cpus = map_array(self._fd, cpus, _WORDS, writable=True)
            self._slots_memory, self._slots = map_array(self._slots_fd, 1 << _SLOT_BITS, self._slot_bytes // 8)
            undo.pop_all()
        self._lost_before = dict.fromkeys(LOST, 0)

    @property
    def maps(self) -> tuple[int, ...]:
        """The descriptors of the maps that ``constants`` name."""
        return self._fd, self._slots_fd

    def constants(self) -> dict[str, int]:
        """As -D constants of the BPF program."""
        return {
            "COUNTERS_FD": self._fd,
            "COUNTERS_BYTES": _WORDS * 8,
            "SLOTS_FD": self._slots_fd,
            "SLOT_BYTES": self._slot_bytes,
            "SLOT_BITS": _SLOT_BITS,
        }

    def read(self, name: str) -> int:
        """The counter ``COUNT_<NAME>`` of bpf/record.h."""
        return int(self._cpus[:, define(f"COUNT_{name.upper()}")].sum())

    def runs(self, function: int, side: str) -> int:
        """How often the program of function number ``function`` ran; ``side`` is ``entry`` or ``return``."""
        return int(self._slots[:, 2 * function + (side == "return")].sum())

    def begin(self, *, on: bool) -> None:
        """May traces begin?"""
        self._cpus[:, _ON] = on

    def other_families(self) -> dict[str, int]:
        """Calls of sk_alloc() that inet_create() and inet6_create() did not make, by address family."""
        return self._by_family(_OTHER)

    def accepted(self) -> dict[str, int]:
        """Socks cloned for accepted connections, by address family: calls of sk_prot_alloc() outside every create that
        sk_alloc(), which makes one each, does not account for."""
        outside, allocated = (
            self._by_family(table) | self._of_inet(place)
            for table, place in ((_OUTSIDE, _CLONED), (_OTHER, _ALLOCATED))
        )
        cloned = {family: count - allocated.get(family, 0) for family, count in outside.items()}
        return {family: count for family, count in cloned.items() if count > 0}

    def _by_family(self, first: int) -> dict[str, int]:
        sums = self._cpus[:, first : first + _FAMILIES].sum(axis=0)
        return {FAMILY_NAMES.get(family, str(family)): int(n) for family, n in enumerate(sums.tolist()) if n}

    def _of_inet(self, first: int) -> dict[str, int]:
        sums = self._slots[:, first : first + len(_INET_FAMILIES)].sum(axis=0)
        return {FAMILY_NAMES[family]: int(n) for family, n in zip(_INET_FAMILIES, sums.tolist(), strict=True) if n}

    def lost(self) -> dict[str, int]:
        """Sockets that have no record so far, by reason; reasons at zero are left out."""
        sums = self._cpus[:, :_ON].sum(axis=0)
        return {reason: int(sums[index]) for reason, index in LOST.items() if sums[index]}

    def new_losses(self) -> tuple[Loss, ...]:
        """What was lost since the last call, by reason."""
        losses = []
        for name, now in self.lost().items():
            if now > self._lost_before[name]:
                losses.append(Loss(name, now - self._lost_before[name]))
                self._lost_before[name] = now
        return tuple(losses)

    def close(self) -> None:
        """Gives the mappings and the maps back."""
        del self._cpus, self._slots
        self._memory.close()
        self._slots_memory.close()
        os.close(self._fd)
        os.close(self._slots_fd)
