"""inetprobe's own pid namespace: the BPF program sees the process ids of the initial one."""

from __future__ import annotations

from pathlib import Path

OWN = Path("/proc/self/ns/pid")
# PROC_PID_INIT_INO of include/linux/proc_ns.h.
_INITIAL = 0xEFFFFFFC


def is_initial() -> bool:
    """Is it the initial pid namespace, so that a record's process ids are those of /proc?"""
    return OWN.stat().st_ino == _INITIAL
