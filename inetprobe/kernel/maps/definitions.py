"""The maps of the program, by their index in bpf/maps.h, and their shapes."""

from __future__ import annotations

from collections.abc import Mapping

from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.maps import cells, counters
from inetprobe.record.cheader import bpf_folder, parse_defines

#: The index of each map by its name in bpf/maps.h, lowercase and without MAP_.
INDEX: Mapping[str, int] = {
    name.removeprefix("MAP_").lower(): index
    for name, index in parse_defines((bpf_folder() / "maps.h").read_text()).items()
}

#: The names of the maps of displaced threads.
DISPLACED = frozenset({"displaced", "blank"})

# include/uapi/linux/bpf.h: BPF_MAP_TYPE_*, and flags.
_HASH, _ARRAY, _PERCPU_ARRAY, _CGROUP_ARRAY, _RINGBUF, _TASK_STORAGE = 1, 2, 6, 8, 27, 29
_F_NO_PREALLOC, _F_MMAPABLE = 1, 1 << 10
# The most processes that COMMAND and its descendants can be at once; displaced threads without task storage.
_FOLLOWED, _DISPLACED = 65536, 16384


def of_program(
    *, ring_size: int, cpus: int, calls: int, serve: bool, follow: bool, bare: bool, cgroups: int = 0
) -> dict[str, MapShape]:
    """Every map that such a program needs but those of displaced threads, by name; ``ring_size`` in bytes, ``calls``:
    the most calls that a trace can hold, ``cgroups``: how many the filters name.
    """
    thread = counters.slot_bytes(calls)  # a struct slot has room for a struct thread
    return {
        "records": MapShape("records", _RINGBUF, 0, 0, ring_size, 0),
        "counters": _value("counters", cpus * counters.CPU_COUNTERS.itemsize),
        "slots": _value("slots", counters.SLOTS * thread),
        **({"cells": MapShape("cells", _ARRAY, 4, cells.CPU_CELLS.itemsize, cpus, _F_MMAPABLE)} if serve else {}),
        **({"followed": MapShape("followed", _HASH, 4, 1, _FOLLOWED, 0)} if follow else {}),
        **({"command": MapShape("command", _ARRAY, 4, 8, 1, 0)} if follow else {}),
        **({"cgroups": MapShape("cgroups", _CGROUP_ARRAY, 4, 4, cgroups, 0)} if cgroups else {}),
        **({"softirqs": MapShape("softirqs", _PERCPU_ARRAY, 4, thread, 1, 0)} if bare else {}),
    }


def of_displaced(calls: int, *, task_storage: bool) -> dict[str, MapShape]:
    """The maps of displaced threads, by name."""
    thread = counters.slot_bytes(calls)
    if task_storage:
        return {"displaced": MapShape("displaced", _TASK_STORAGE, 4, thread, 0, _F_NO_PREALLOC)}
    return {
        "displaced": MapShape("displaced", _HASH, 4, thread, _DISPLACED, 0),
        "blank": MapShape("blank", _ARRAY, 4, thread, 1, 0),
    }


def _value(name: str, size: int) -> MapShape:
    """An array with one value, whose memory is mapped."""
    return MapShape(name, _ARRAY, 4, size, 1, _F_MMAPABLE)
