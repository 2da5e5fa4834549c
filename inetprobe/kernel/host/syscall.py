"""bpf(2): maps, programs and their attachment by trampoline or raw tracepoint; and other system calls by name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import resource
import struct
from typing import NamedTuple

# include/uapi/linux/bpf.h
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _OBJ_GET_INFO_BY_FD, _RAW_TRACEPOINT_OPEN, _BTF_LOAD = 0, 2, 5, 15, 17, 18
_MAP_TYPE_TASK_STORAGE = 29
# Bytes of a verifier's log: libbpf's default, too.
_LOG_SIZE = (1 << 24) - 1
#: The numbers of the system calls that libc has no function for, by machine.
NUMBERS = {
    "x86_64": {
        "bpf": 321,
        "perf_event_open": 298,
        "membarrier": 324,
        "landlock_create_ruleset": 444,
        "landlock_add_rule": 445,
        "landlock_restrict_self": 446,
    }
}
#: The shortest program: r0 = 0; exit.
RETURN_0 = struct.pack("<QQ", 0xB7, 0x95)
_BTF_INT, _BTF_ARRAY = 1, 3
# struct bpf_prog_info from run_time_ns on (Linux 5.1): run_cnt follows, then recursion_misses (Linux 5.12).
_RUN_TIME, _INFO_SIZE, _INFO_SIZE_BEFORE_5_12 = 192, 216, 208


class _MapAttributes(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * 16),
        ("map_ifindex", ctypes.c_uint32),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
    )


class _BtfAttributes(ctypes.Structure):
    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_log_buf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 2),
    )


class _LoadAttributes(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("btf", ctypes.c_uint32 * 9),  # prog_btf_fd to line_info_cnt
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
    )


class _TracepointAttributes(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32))


class _EntryAttributes(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _InfoAttributes(ctypes.Structure):
    _fields_ = (("bpf_fd", ctypes.c_uint32), ("info_len", ctypes.c_uint32), ("info", ctypes.c_uint64))


class MapShape(NamedTuple):
    """The attributes to create a map with: ``type`` is BPF_MAP_TYPE_*, ``flags`` are BPF_F_*, sizes are in bytes."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def create_map(shape: MapShape) -> int:
    """The file descriptor of a new map. Raises OSError."""
    attributes = _MapAttributes(shape.type, *shape[2:], map_name=shape.name.encode()[:15])
    with contextlib.ExitStack() as undo:
        if shape.type == _MAP_TYPE_TASK_STORAGE:  # its key and value must be described by BTF
            attributes.btf_fd, attributes.btf_key_type_id, attributes.btf_value_type_id = _load_btf(shape.value_size)
            undo.callback(os.close, attributes.btf_fd)
        return _bpf_unlimited(_MAP_CREATE, attributes)


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Sets an entry of a map; ``key`` and ``value`` have the map's sizes. Raises OSError."""
    key_at, value_at = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _checked(_MAP_UPDATE, _EntryAttributes(map_fd, ctypes.addressof(key_at), ctypes.addressof(value_at), 0))


def _load_btf(value_size: int) -> tuple[int, int, int]:
    """(descriptor, id of u32, id of u8[value_size]) of types loaded into the kernel. Raises OSError."""
    names = b"\0u32\0u8\0"
    u32 = struct.pack("<IIII", 1, _BTF_INT << 24, 4, 32)
    u8 = struct.pack("<IIII", 5, _BTF_INT << 24, 1, 8)
    array = struct.pack("<IIIIII", 0, _BTF_ARRAY << 24, 0, 2, 1, value_size)
    types = u32 + u8 + array
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    btf = ctypes.create_string_buffer(head + types + names, len(head + types + names))
    return _bpf_unlimited(_BTF_LOAD, _BtfAttributes(ctypes.addressof(btf), 0, len(btf))), 1, 3


class ProgramType(NamedTuple):
    """``type``: BPF_PROG_TYPE_*; ``attach_type``: BPF_TRACE_* of a tracing program."""

    type: int
    attach_type: int = 0


KPROBE, RAW_TRACEPOINT, FENTRY, FEXIT = (ProgramType(*numbers) for numbers in ((2,), (17,), (26, 24), (26, 25)))


class ProgramRefused(OSError):
    """The kernel refused a program: the errno, and the verifier's ``log``, empty where it has none to show."""

    def __init__(self, error: int, log: str) -> None:
        super().__init__(error, os.strerror(error))
        self.log = log


def load_program(type_: ProgramType, name: str, code: bytes, btf_id: int = 0) -> int:
    """The file descriptor of a new program; ``btf_id``: the function of a tracing program, in the kernel's BTF.

    Raises ProgramRefused.
    """
    insns, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    attributes = _LoadAttributes(
        type_.type,
        len(code) // 8,
        ctypes.addressof(insns),
        ctypes.addressof(licence),
        prog_name=re.sub(rb"[^A-Za-z0-9_.]", b"_", name.encode())[:15],
        expected_attach_type=type_.attach_type,
        attach_btf_id=btf_id,
    )
    try:
        return _bpf_unlimited(_PROG_LOAD, attributes)
    except OSError as error:
        refused = error.errno or 0
    # Once more for the log: writing one takes longer than the rest. Its own errno may be that of a full log.
    log = ctypes.create_string_buffer(_LOG_SIZE)
    attributes.log_level, attributes.log_size, attributes.log_buf = 1, _LOG_SIZE, ctypes.addressof(log)
    fd, error_again = _bpf(_PROG_LOAD, attributes)
    if error_again:
        raise ProgramRefused(refused, log.value.decode(errors="replace"))
    return fd


def attach(program_fd: int, tracepoint: str | None = None) -> int:
    """The file descriptor of an attachment, which ends when it is closed: of a tracing program to its function, or of
    another to a raw tracepoint. Raises OSError."""
    name = None if tracepoint is None else ctypes.create_string_buffer(tracepoint.encode())
    address = 0 if name is None else ctypes.addressof(name)
    return _checked(_RAW_TRACEPOINT_OPEN, _TracepointAttributes(address, program_fd))


class ProgramInfo(NamedTuple):
    """The kernel's counts of a program; ``run_time_ns`` and ``runs`` grow only while kernel.bpf_stats_enabled is 1.

    ``recursion_misses``: how often it was not run because it already ran on that CPU; None where it is not counted.
    """

    run_time_ns: int
    runs: int
    recursion_misses: int | None


def program_info(program_fd: int) -> ProgramInfo:
    """The kernel's counts of a program; 0 and None where it refuses them (before 5.19 without CAP_BPF)."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    attributes = _InfoAttributes(program_fd, _INFO_SIZE, ctypes.addressof(info))
    _, error = _bpf(_OBJ_GET_INFO_BY_FD, attributes)
    if error or attributes.info_len < _INFO_SIZE_BEFORE_5_12:
        return ProgramInfo(0, 0, None)
    run_time_ns, runs, misses = struct.unpack_from("<QQQ", info, _RUN_TIME)
    return ProgramInfo(run_time_ns, runs, misses if attributes.info_len >= _INFO_SIZE else None)


def _bpf_unlimited(command: int, attributes: ctypes.Structure) -> int:
    """A new descriptor, with the limit of locked memory raised if need be. Raises OSError."""
    try:
        return _checked(command, attributes)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # the verifier's EACCES
            raise
        # Before Linux 5.11 maps and programs count as locked memory.
        with contextlib.suppress(ValueError):  # without the right to raise it the second try fails, too
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return _checked(command, attributes)


def _checked(command: int, attributes: ctypes.Structure) -> int:
    """The result. Raises OSError."""
    result, error = _bpf(command, attributes)
    if error:
        raise OSError(error, os.strerror(error))
    return result


def _bpf(command: int, attributes: ctypes.Structure) -> tuple[int, int]:
    return call("bpf", command, ctypes.byref(attributes), ctypes.sizeof(attributes))


def call(name: str, *arguments: object) -> tuple[int, int]:
    """(result, errno) of a system call of ``NUMBERS``; errno is ENOSYS on a machine whose numbers are unknown here."""
    number = NUMBERS.get(platform.machine(), {}).get(name)
    if number is None:
        return -1, errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(number, *arguments)
    return result, ctypes.get_errno() if result < 0 else 0
