"""The system calls that a confined process cannot make any more: a seccomp filter, which libseccomp writes."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from inetprobe.base.errors import InetprobeError

_LIBRARY = "libseccomp.so.2"
# include/seccomp.h: the actions, and the comparisons of an argument.
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NOT_EQUAL, _LESS, _GREATER = 1, 2, 6
_UNKNOWN = -1
# include/uapi/linux/bpf.h
_BPF_OBJ_GET_INFO_BY_FD, _BPF_RAW_TRACEPOINT_OPEN = 15, 17
_AF_UNIX = 1

# Other programs and processes; the owner, mode and attributes of files, which Landlock does not know; the machine.
_REFUSED = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "pidfd_open", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "migrate_pages", "move_pages",
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
    "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat",
    "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount",
    "mount_setattr", "unshare", "setns", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
    "add_key", "request_key", "keyctl", "iopl", "ioperm", "userfaultfd", "io_uring_setup", "open_by_handle_at",
)  # fmt: skip


class _ScmpArgument(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _RefusedCall(NamedTuple):
    """A system call to refuse, where all of these arguments are such: (argument, comparison, value)."""

    name: str
    arguments: tuple[tuple[int, int, int], ...] = ()


def library() -> str | None:
    """The version of this machine's libseccomp; None where it cannot be loaded."""

    class Version(ctypes.Structure):
        _fields_ = tuple((part, ctypes.c_uint) for part in ("major", "minor", "micro"))

    lib = _load()
    if lib is None:
        return None
    lib.seccomp_version.restype = ctypes.POINTER(Version)
    version = lib.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"


def install(*, attaches: bool, signals: bool) -> None:
    """Refuses system calls with EPERM to the calling thread and to those that it starts, for good. Without libseccomp
    none are refused.

    ``attaches``: probes will be attached again. ``signals``: a process will be signalled by its pidfd. The caller has
    no_new_privs. Raises InetprobeError if the kernel refuses.
    """
    lib = _load()
    if lib is None:
        return
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(_ALLOW)))
    if not context:
        raise InetprobeError("libseccomp makes no filter: there is no memory for it")
    try:
        for name, arguments in _rules(attaches=attaches, signals=signals):
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == _UNKNOWN:  # newer than this libseccomp
                continue
            compared = (_ScmpArgument * len(arguments))(*[_ScmpArgument(*argument) for argument in arguments])
            action = ctypes.c_uint32(_REFUSE)
            _checked(name, lib.seccomp_rule_add_array(context, action, number, len(arguments), compared))
        _checked("seccomp_load", lib.seccomp_load(context))
    finally:
        lib.seccomp_release(context)


def _rules(*, attaches: bool, signals: bool) -> Iterator[_RefusedCall]:
    yield from map(_RefusedCall, _REFUSED)
    yield _RefusedCall("socket", ((0, _NOT_EQUAL, _AF_UNIX),))  # systemd is notified by one of AF_UNIX
    for name in ("kill", "tgkill"):
        yield _RefusedCall(name, ((0, _NOT_EQUAL, os.getpid()),))
    yield _RefusedCall("prlimit64", ((0, _NOT_EQUAL, 0),))
    if not signals:
        yield _RefusedCall("pidfd_send_signal")
    if not attaches:
        yield _RefusedCall("perf_event_open")
    # Of bpf(2) the counts of programs are asked for; a link is opened where probes are attached again.
    last = _BPF_RAW_TRACEPOINT_OPEN if attaches else _BPF_OBJ_GET_INFO_BY_FD
    yield _RefusedCall("bpf", ((0, _LESS, _BPF_OBJ_GET_INFO_BY_FD),))
    yield _RefusedCall("bpf", ((0, _GREATER, last),))


def _load() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def _checked(name: str, result: int) -> None:
    if result:
        raise InetprobeError(f"libseccomp refuses no system calls ({name}: {os.strerror(-result)})")
