"""kprobes and kretprobes with a BPF program, by perf_event_open(2).

A named one is made in tracefs, which counts its hits and misses; where tracefs cannot be written, perf's own kprobes
have no name and are not counted (perf_kprobe_event_init() of kernel/events/core.c).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from inetprobe.kernel.host import syscall, tracefs

# include/uapi/linux/perf_event.h
_TYPE_SOFTWARE, _TYPE_TRACEPOINT, _COUNT_SW_DUMMY, _FLAG_FD_CLOEXEC = 1, 2, 9, 8
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
#: perf's own kprobes (Linux 4.17), which a kernel has where CONFIG_KPROBE_EVENTS is set.
PMU = Path("/sys/bus/event_source/devices/kprobe")


class _Attributes(ctypes.Structure):
    """struct perf_event_attr as of Linux 4.1."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


@dataclass(frozen=True, slots=True)
class Kprobe:
    """An attached kprobe, or kretprobe. ``event``: its name in the tracefs at ``folder``; None where it has none."""

    fd: int
    folder: Path | None = None
    event: str | None = None

    @classmethod
    def attach(cls, folder: Path | None, program_fd: int, function: str, number: int, maxactive: int | None) -> Kprobe:
        """Attaches a loaded kprobe program to a kernel function's entry, or with ``maxactive`` to its return, for as
        many calls at once; ``number`` is the function's. ``folder``: tracefs, where it can be written; without it
        ``maxactive`` is the kernel's choice. Raises OSError.
        """
        if folder is None:
            return cls(_with_program(_open_unnamed(function, returns=maxactive is not None), program_fd))
        event = tracefs.add_kprobe(folder, function, number, maxactive)
        try:
            attributes = _Attributes(type=_TYPE_TRACEPOINT, config=tracefs.event_id(folder, event), sample_period=1)
            return cls(_with_program(_open(attributes), program_fd), folder, event)
        except OSError:
            tracefs.remove_kprobe(folder, event)
            raise

    def close(self) -> None:
        """Detaches it; to be called once. Raises OSError where its event cannot be removed."""
        os.close(self.fd)
        if self.folder is not None and self.event is not None:
            tracefs.remove_kprobe(self.folder, self.event)


def refusal() -> OSError | None:
    """Why perf_event_open(2), which every kprobe goes through, is refused here; None where it is not."""
    try:
        os.close(_open(_Attributes(type=_TYPE_SOFTWARE, config=_COUNT_SW_DUMMY)))
    except OSError as error:
        return error
    return None


def _open_unnamed(function: str, *, returns: bool) -> int:
    type_ = int((PMU / "type").read_text())
    retprobe_bit = int((PMU / "format/retprobe").read_text().partition(":")[2])
    name = ctypes.create_string_buffer(function.encode())
    config = int(returns) << retprobe_bit
    return _open(_Attributes(type=type_, config=config, sample_period=1, config1=ctypes.addressof(name)))


def _open(attributes: _Attributes) -> int:
    attributes.size = ctypes.sizeof(attributes)
    cpu = min(os.sched_getaffinity(0))  # any: the program runs on all of them
    flags = ctypes.c_ulong(_FLAG_FD_CLOEXEC)
    fd, error = syscall.call("perf_event_open", ctypes.byref(attributes), -1, cpu, -1, flags)
    if error:
        raise OSError(error, os.strerror(error))
    return fd


def _with_program(fd: int, program_fd: int) -> int:
    try:
        fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
        fcntl.ioctl(fd, _IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    return fd
