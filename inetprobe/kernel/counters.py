"""The in-kernel counters, read from mapped memory: no system call, so no kprobe program is ever skipped for it."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from inetprobe.record import PRODUCERS, Loss, define

_COUNTERS = define("COUNTERS")
_SLOTS = _COUNTERS + PRODUCERS

LOST = {
    "ring_full": define("COUNT_LOST_RING_FULL"),
    "no_state": define("COUNT_LOST_NO_STATE"),
    "return_missed": define("COUNT_LOST_RETURN_MISSED"),
}


def map_array(fd: int, entries: int, words: int, *, writable: bool = False) -> tuple[mmap.mmap, npt.NDArray[np.uint64]]:
    """The memory of a BPF array made with BPF_F_MMAPABLE, as ``[entries, words]`` of u64. Raises OSError."""
    size = -(-entries * words * 8 // mmap.PAGESIZE) * mmap.PAGESIZE
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    memory = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
    return memory, np.frombuffer(memory, "<u8", entries * words).reshape(entries, words)


class Counters:
    """Sums over the CPUs of ``struct cpu_counters`` in bpf/inetprobe.bpf.c."""

    def __init__(self, fd: int, cpus: int) -> None:
        self._memory, self._slots = map_array(fd, cpus, _SLOTS)
        self._lost_before = dict.fromkeys(LOST, 0)

    def read(self, name: str) -> int:
        """The counter ``COUNT_<NAME>`` of bpf/record.h."""
        return int(self._slots[:, define(f"COUNT_{name.upper()}")].sum())

    def lost(self) -> dict[str, int]:
        """Sockets that have no record so far, by reason; reasons at zero are left out."""
        sums = self._slots.sum(axis=0)
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
        """Gives the mapping back."""
        del self._slots
        self._memory.close()
