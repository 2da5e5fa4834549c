"""The bpf() system call, for what bcc has no method for."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
from typing import NamedTuple

# include/uapi/linux/bpf.h
_MAP_CREATE, _PROG_LOAD, _OBJ_GET_INFO_BY_FD = 0, 5, 15
_MAP_TYPE_ARRAY, _F_MMAPABLE = 2, 1 << 10
_PROG_TYPE_KPROBE = 2
_NUMBER = {"x86_64": 321}
# struct bpf_prog_info from run_time_ns on (Linux 5.1): run_cnt follows, then recursion_misses (Linux 5.12).
_RUN_TIME, _INFO_SIZE, _INFO_SIZE_BEFORE_5_12 = 192, 216, 208


class _MapAttributes(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


class _LoadAttributes(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 96),
    )


class _InfoAttributes(ctypes.Structure):
    _fields_ = (("bpf_fd", ctypes.c_uint32), ("info_len", ctypes.c_uint32), ("info", ctypes.c_uint64))


def create_value(size: int) -> int:
    """The file descriptor of a map of one value of ``size`` bytes, which can be mapped into memory. Raises OSError."""
    attributes = _MapAttributes(_MAP_TYPE_ARRAY, 4, size, 1, _F_MMAPABLE)
    fd, error = _bpf(_MAP_CREATE, attributes)
    if error == errno.EPERM:  # before Linux 5.11 maps count as locked memory
        with contextlib.suppress(ValueError):  # who may not raise it is refused once more
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        fd, error = _bpf(_MAP_CREATE, attributes)
    if error:
        raise OSError(error, os.strerror(error))
    return fd


def load_nothing() -> int:
    """Loads the shortest kprobe program there is (r0 = 0; exit) and lets it go; the errno, 0 for success."""
    program = (ctypes.c_uint64 * 2)(0x00000000000000B7, 0x0000000000000095)
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = _LoadAttributes(_PROG_TYPE_KPROBE, 2, ctypes.addressof(program), ctypes.addressof(licence))
    fd, error = _bpf(_PROG_LOAD, attributes)
    if not error:
        os.close(fd)
    return error


class ProgramInfo(NamedTuple):
    """What the kernel counts of a program; ``run_time_ns`` and ``runs`` only while kernel.bpf_stats_enabled is 1.

    ``recursion_misses`` is how often it was not run because it ran already on that CPU; None where that is not counted.
    """

    run_time_ns: int
    runs: int
    recursion_misses: int | None


def program_info(program_fd: int) -> ProgramInfo:
    """The kernel's counts of a program; nothing is known where it refuses to tell (before 5.19 without CAP_BPF)."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    attributes = _InfoAttributes(program_fd, _INFO_SIZE, ctypes.addressof(info))
    _, error = _bpf(_OBJ_GET_INFO_BY_FD, attributes)
    if error or attributes.info_len < _INFO_SIZE_BEFORE_5_12:
        return ProgramInfo(0, 0, None)
    run_time_ns, runs, misses = struct.unpack_from("<QQQ", info, _RUN_TIME)
    return ProgramInfo(run_time_ns, runs, misses if attributes.info_len >= _INFO_SIZE else None)


def _bpf(command: int, attributes: ctypes.Structure) -> tuple[int, int]:
    """(result, errno); errno is ENOSYS on a machine whose number for bpf() is not known here."""
    number = _NUMBER.get(platform.machine())
    if number is None:
        return -1, errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    return result, ctypes.get_errno() if result < 0 else 0
