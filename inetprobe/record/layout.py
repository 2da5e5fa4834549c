"""The record in Python: a numpy type built from ``bpf/record.h``, the only definition of the layout.

The header is read at import, so that the two cannot differ; a test compiles it and compares every offset.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.record.cheader import bpf_folder, parse_defines, parse_structs

Records = npt.NDArray[np.void]
Flags = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_HEADER = (bpf_folder() / "record.h").read_text()
_DEFINES = parse_defines(_HEADER)


def define(name: str) -> int:
    """The value of a constant of ``bpf/record.h``."""
    return _DEFINES[name]


#: Calls that a record has room for: by default, and with --also.
SLOTS = _DEFINES["INETPROBE_CALLS"]
SLOTS_ALSO = 32


@lru_cache
def record_dtype(
    calls: int = SLOTS, *, sock: bool = False, stack: bool = False, frames: bool = False
) -> np.dtype[np.void]:
    """``struct inetprobe_record`` with room for ``calls`` calls.

    ``sock`` adds the fields of the sock, ``stack`` the number of a stack, ``frames`` addresses, which only records in
    the kernel's ring have.
    """
    sizes = {
        "INETPROBE_CALLS": calls,
        "INETPROBE_SOCKS": int(sock),
        "INETPROBE_STACKS": int(stack),
        "INETPROBE_FRAMES": int(frames),
    }
    return parse_structs(_HEADER, _DEFINES | sizes)["inetprobe_record"]


RECORD = record_dtype()

CALL_RETURNED = define("CALL_RETURNED")
CALL_POINTER = define("CALL_POINTER")
CALL_NULL = define("CALL_NULL")
CALL_VOID = define("CALL_VOID")
MODULE_PROTO_TYPE = define("MODULE_PROTO_TYPE")
MODULE_PROTO = define("MODULE_PROTO")
MODULE_FAMILY = define("MODULE_FAMILY")
RECORD_CAP_KNOWN = define("RECORD_CAP_KNOWN")
RECORD_CAP_NET_RAW = define("RECORD_CAP_NET_RAW")
RECORD_KERN = define("RECORD_KERN")
RECORD_RETURN_MISSED = define("RECORD_RETURN_MISSED")
RECORD_ENTRY_MISSED = define("RECORD_ENTRY_MISSED")
RECORD_TRUNCATED = define("RECORD_TRUNCATED")
RECORD_BARE = define("RECORD_BARE")
RECORD_SOFTIRQ = define("RECORD_SOFTIRQ")
FUNCTION_REQUEST_MODULE = define("FUNCTION_REQUEST_MODULE")
PRODUCERS = define("PRODUCERS")

#: The flags of an incomplete record, the most serious first, and the reason's name in the summary and the JSON.
INCOMPLETE_FLAGS = {
    RECORD_RETURN_MISSED: "return_missed",
    RECORD_ENTRY_MISSED: "entry_missed",
    RECORD_TRUNCATED: "truncated",
}
_INCOMPLETE = sum(INCOMPLETE_FLAGS)

#: Members of a record that are text.
NAMES = ("comm", "prot")

#: Members that a record has once or not at all.
OPTIONAL = ("sock", "stack")

#: The maximum number of functions that --also takes, and the number of the first.
ALSO_MAX = define("ALSO_MAX")
FUNCTION_ALSO = define("FUNCTION_ALSO")

#: The system calls, by the number of their function: io_uring makes its sockets by __sys_socket_file().
SYSCALLS: dict[int, str] = {
    define("FUNCTION_SYS_SOCKET"): "socket",
    define("FUNCTION_SYS_SOCKETPAIR"): "socketpair",
    define("FUNCTION_SYS_SOCKET_FILE"): "io_uring",
}
#: Where a seccomp filter refuses a system call.
SECURE_COMPUTING = define("FUNCTION_SECURE_COMPUTING")
#: The number by which its probe counts: no call of a trace is audit_seccomp's.
AUDIT_SECCOMP = define("FUNCTION_AUDIT_SECCOMP")
#: The creates, by the number of their function.
CREATES = (define("FUNCTION_INET_CREATE"), define("FUNCTION_INET6_CREATE"))

#: The functions that are always traced, by the number in a call.
FUNCTIONS: dict[int, str] = {
    define("FUNCTION_SYS_SOCKET"): "__sys_socket",
    define("FUNCTION_SYS_SOCKETPAIR"): "__sys_socketpair",
    define("FUNCTION_SYS_SOCKET_FILE"): "__sys_socket_file",
    define("FUNCTION_INET_CREATE"): "inet_create",
    define("FUNCTION_INET6_CREATE"): "inet6_create",
    define("FUNCTION_SK_ALLOC"): "sk_alloc",
    define("FUNCTION_SK_PROT_ALLOC"): "sk_prot_alloc",
    FUNCTION_REQUEST_MODULE: "__request_module",
}
#: Those, and the one in which seccomp filters refuse.
FUNCTIONS_WITH_SECCOMP = FUNCTIONS | {SECURE_COMPUTING: "__secure_computing"}
_ONE_SIDED = {"__secure_computing": ("return",), "audit_seccomp": ("entry",)}


def sides(function: str) -> tuple[str, ...]:
    """The sides of a traced function that have a probe, in the order in which they are attached: the return before the
    entry, so that every call that an entry opens is sure to be closed."""
    return _ONE_SIDED.get(function, ("return", "entry"))


def is_bare(flags: Flags) -> Mask:
    """Which records, by their flags, are of socks that no create made?"""
    return _mask((flags & RECORD_BARE) != 0)


def is_incomplete(flags: Flags) -> Mask:
    """Which records, by their flags, are not complete traces?"""
    return _mask((flags & _INCOMPLETE) != 0)


def has_returned(flags: Flags) -> Mask:
    """The return of which calls, by their flags, was seen?"""
    return _mask((flags & CALL_RETURNED) != 0)


def incomplete_reason(flags: int) -> str | None:
    """Why a record with these flags is not a complete trace, or None when it is one."""
    for flag, reason in INCOMPLETE_FLAGS.items():
        if flags & flag:
            return reason
    return None


def reasons(flags: Flags) -> Counter[str | None]:
    """The number of records by the reason why they are not complete traces, None for those that are complete.

    ``flags`` are the records' own, ``[records]``.
    """
    counts: Counter[str | None] = Counter()
    for value, count in enumerate(np.bincount(flags).tolist()):
        if count:
            counts[incomplete_reason(value)] += count
    return counts


def _mask(values: Any) -> Mask:
    mask: Mask = values
    return mask
