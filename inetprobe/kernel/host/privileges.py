"""Capabilities: which there are, which attach probes, and how the others are dropped.

Attaching takes CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) and root's access to tracefs. After that the ring and the
counters are mapped, and root's user id alone, without a capability, is enough to detach the probes.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from inetprobe.base.errors import InetprobeError

# include/uapi/linux/capability.h and prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SETGID = 6
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4


_CAP_SYS_ADMIN = 21
#: CAP_KILL, to signal another user's processes.
SIGNALS = frozenset({5})
#: CAP_DAC_READ_SEARCH, for what only its owner may enter, a folder or /proc/PID/fd; CAP_SYS_PTRACE, without which root
#: cannot read the memory map, or the descriptors, of a process that has a capability or another user.
PROCESSES = frozenset({2, 19})
_CAP_PERFMON, _CAP_BPF = 38, 39
_ATTACHING = frozenset({_CAP_PERFMON, _CAP_BPF})


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def attaching(paranoid: Path = Path("/proc/sys/kernel/perf_event_paranoid")) -> frozenset[int]:
    """The capabilities to attach probes again. From perf_event_paranoid 3 on (only Debian's and Ubuntu's kernels have
    it) perf_event_open() takes CAP_SYS_ADMIN."""
    return _ATTACHING | ({_CAP_SYS_ADMIN} if int(paranoid.read_text()) > 2 else set())


def status_lines(status: Path) -> list[str]:
    """The lines of a /proc/PID/status. A process may have any bytes in its name, of which the kernel escapes only the
    newline: no other character ends a line."""
    return status.read_bytes().decode(errors="replace").split("\n")


def effective(status: Path = Path("/proc/self/status")) -> frozenset[int]:
    """The numbers of the capabilities in the effective set of this process, or of the one whose ``status`` it is."""
    line = next(line for line in status_lines(status) if line.startswith("CapEff:"))
    bits = int(line.split()[1], 16)
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def may_attach(status: Path = Path("/proc/self/status")) -> bool:
    """Has this process the capabilities to load and attach BPF programs: CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON?"""
    held = effective(status)
    return _CAP_SYS_ADMIN in held or held >= _ATTACHING


def set_no_new_privileges() -> None:
    """From now on no execve() gives this thread, or those it starts, a privilege. Raises InetprobeError."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _refused()


def drop(keep: frozenset[int]) -> None:
    """Drops the supplementary groups and, for good, every capability of the calling thread except those of ``keep``.

    Threads that it starts later have no others; no other thread may run yet. Raises InetprobeError if the kernel
    refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets):
        raise _refused()
    if sets[0].effective >> _CAP_SETGID & 1:
        os.setgroups([])
    for word, half in enumerate(sets):
        kept = half.permitted & sum(1 << number % 32 for number in keep if number // 32 == word)
        sets[word] = _Sets(kept, kept, 0)
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0):
        raise _refused()
    if libc.capset(ctypes.byref(header), sets):
        raise _refused()


def _refused() -> InetprobeError:
    return InetprobeError(f"the kernel does not let capabilities be dropped: {os.strerror(ctypes.get_errno())}")
