"""Least privilege: what a live run gives up once its probes are in place and its files are open.

Attaching takes CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) and root's access to tracefs.
After that the ring and the counters are mapped, and root's user id alone, without a capability, is enough to take the
probes away again. One exception: signals for a COMMAND that runs as another user need CAP_KILL.
"""

from __future__ import annotations

import ctypes
import os

from inetprobe.errors import InetprobeError

# include/uapi/linux/capability.h and prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_KILL, _CAP_SETGID = 5, 6
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop(*, keep_kill: bool) -> None:
    """Gives up the supplementary groups and every capability (but CAP_KILL, if asked) of the calling thread for good.

    Threads begun later have none either; there must be no other yet. Raises InetprobeError if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets):
        raise _refused()
    if sets[0].effective >> _CAP_SETGID & 1:
        os.setgroups([])
    kept = sets[0].permitted & (1 << _CAP_KILL if keep_kill else 0)
    sets[0] = _Sets(kept, kept, 0)
    sets[1] = _Sets(0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0):
        raise _refused()
    if libc.capset(ctypes.byref(header), sets):
        raise _refused()


def _refused() -> InetprobeError:
    return InetprobeError(f"the kernel does not let capabilities be dropped: {os.strerror(ctypes.get_errno())}")
