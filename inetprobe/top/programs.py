"""What a process runs, looked up in /proc while it is there."""

from __future__ import annotations

import os
from pathlib import Path

# PROC_PID_INIT_INO of include/linux/proc_ns.h: records have the pids of this namespace.
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


def program(pid: int, seen_ns: int, proc: Path = Path("/proc")) -> str | None:
    """The program's file name, or the first word of its command line where the file is for others' eyes.

    None where the process is gone, or one that began after ``seen_ns`` (CLOCK_BOOTTIME) has its pid now, and where
    /proc has the pids of another namespace.
    """
    folder = proc / str(pid)
    try:
        if (proc / "self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE:
            return None
        # proc(5): starttime is the 22nd field; comm, in brackets, may have spaces and brackets of its own.
        started = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[19])
        if started * 10**9 // os.sysconf("SC_CLK_TCK") > seen_ns:
            return None
        try:
            found = str((folder / "exe").readlink())
        except PermissionError:  # it has capabilities that we gave up
            found = os.fsdecode((folder / "cmdline").read_bytes().split(b"\0")[0])
    except (OSError, IndexError, ValueError):
        return None
    return Path(found).name or None
