"""The in-kernel counters, read from mapped memory: no system call, so no kprobe program is ever skipped for it."""

from __future__ import annotations

import mmap

import numpy as np

from inetprobe.base.uapi import AF_INET, AF_INET6
from inetprobe.base.uapi import FAMILIES as FAMILY_NAMES
from inetprobe.record.batch import Loss
from inetprobe.record.cheader import bpf_folder, parse_defines, parse_structs
from inetprobe.record.layout import Records, define

_HEADER = (bpf_folder() / "counters.h").read_text()
_DEFINES = parse_defines(_HEADER)
_LENGTHS = {name: define(name) for name in ("COUNTERS", "PRODUCERS", "FAMILIES", "PROGRAMS", "INET_FAMILIES")}
_STRUCTS = parse_structs(_HEADER, _LENGTHS)
CPU_COUNTERS = _STRUCTS["cpu_counters"]
SLOT_COUNTERS = _STRUCTS["slot_counters"]
#: The number of slots.
SLOTS = 1 << _DEFINES["SLOT_BITS"]
# The families of slot_counters.sk_alloc_outside, in its order.
_INET_FAMILIES = (AF_INET, AF_INET6)

# Each the sum of some counters.
_CALLS = {
    "returned": ("calls",),
    "ok": ("calls_ok", "calls_created"),
    "before": ("calls_before",),
    "in_create": ("calls_in_create",),
    "after": ("calls_after",),
    "not_told": ("calls_unknown",),
    "creates": ("creates",),
    "created_ok": ("calls_created",),
    "creates_not_told": ("creates_unknown",),
}
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


def slot_bytes(calls: int) -> int:
    """The size of a ``struct slot`` whose trace holds at most ``calls`` calls."""
    return _DEFINES["SLOT_FIXED_BYTES"] + _DEFINES["SLOT_CALL_BYTES"] * calls


class Counters:
    """Sums of ``struct cpu_counters`` over the CPUs and of ``struct slot_counters`` over the slots: bpf/counters.h."""

    def __init__(self, counters_fd: int, slots_fd: int, cpus: int, calls: int) -> None:
        """The two maps, for ``cpus`` CPUs and traces of at most ``calls`` calls. Raises OSError."""
        self._memory = map_memory(counters_fd, cpus * CPU_COUNTERS.itemsize, writable=True)
        self._slots_memory = map_memory(slots_fd, SLOTS * slot_bytes(calls))
        self._cpus: Records = np.ndarray(cpus, CPU_COUNTERS, self._memory)
        self._slots: Records = np.ndarray(SLOTS, SLOT_COUNTERS, self._slots_memory, strides=(slot_bytes(calls),))
        self._lost_before = dict.fromkeys(LOST, 0)

    def read(self, name: str) -> int:
        """The counter ``COUNT_<NAME>`` of bpf/record.h."""
        return int(self._cpus["value"][:, define(f"COUNT_{name.upper()}")].sum())

    def calls(self) -> dict[str, int]:
        """System calls that returned, and where each ended, as in ``Accounting``; empty where there were none."""
        calls = {name: sum(map(self.read, counters)) for name, counters in _CALLS.items()}
        return calls if any(calls.values()) else {}

    def runs(self, function: int, side: str) -> int:
        """How often the program of function number ``function`` ran; ``side`` is ``entry`` or ``return``."""
        return int(self._slots["runs"][:, 2 * function + (side == "return")].sum())

    def begin(self, *, on: bool) -> None:
        """Lets traces begin, or no longer."""
        self._cpus["on"] = on

    def other_families(self) -> dict[str, int]:
        """Calls of sk_alloc() that inet_create() and inet6_create() did not make, by address family."""
        return self._by_family("sk_alloc_outside")

    def accepted(self) -> dict[str, int]:
        """Socks cloned for accepted connections, by address family: calls of sk_prot_alloc() outside every create that
        sk_alloc(), which makes one each, does not account for. None where sk_prot_alloc()'s family is not known."""
        prot_allocs, allocs = (
            self._by_family(member) | self._of_inet(member) for member in ("sk_prot_alloc_outside", "sk_alloc_outside")
        )
        cloned = {family: count - allocs.get(family, 0) for family, count in prot_allocs.items()}
        return {family: count for family, count in cloned.items() if count > 0}

    def _by_family(self, member: str) -> dict[str, int]:
        sums = self._cpus[member].sum(axis=0)
        return {FAMILY_NAMES.get(family, str(family)): int(n) for family, n in enumerate(sums.tolist()) if n}

    def _of_inet(self, member: str) -> dict[str, int]:
        sums = self._slots[member].sum(axis=0)
        return {FAMILY_NAMES[family]: int(n) for family, n in zip(_INET_FAMILIES, sums.tolist(), strict=True) if n}

    def lost(self) -> dict[str, int]:
        """Sockets that have no record so far, by reason; reasons at zero are left out."""
        sums = self._cpus["value"].sum(axis=0)
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
        """Unmaps the maps."""
        del self._cpus, self._slots
        self._memory.close()
        self._slots_memory.close()
