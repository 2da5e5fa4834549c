"""inetprobe's own pid namespace: the kernel's side sees the initial one's process ids."""

from __future__ import annotations

from pathlib import Path

OWN = Path("/proc/self/ns/pid")
# The pid namespace the machine began with (PROC_PID_INIT_INO of include/linux/proc_ns.h).
_INITIAL = 0xEFFFFFFC


def is_initial() -> bool:
    """Are a record's process ids those that /proc has here?"""
    return OWN.stat().st_ino == _INITIAL
