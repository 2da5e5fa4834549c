"""A live process as the model's caller: capability, groups, cgroup and seccomp filters, from /proc and ptrace(2)."""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path

from inetprobe.base.errors import HostError, UsageError
from inetprobe.base.text import file_name, until_nul
from inetprobe.kernel.host import installed_filters, privileges
from inetprobe.model.caller import Caller
from inetprobe.model.seccomp import SOCKET_CALLS

_CAP_NET_RAW = 13
# include/uapi/linux/nsfs.h
_NS_GET_USERNS, _NS_GET_PARENT = 0xB701, 0xB702


def caller(pid: int, proc: Path = Path("/proc")) -> Caller:
    """The process, or thread, ``pid``. Raises UsageError where there is none, HostError where it cannot be read."""
    machine = platform.machine()
    if machine not in SOCKET_CALLS:
        raise HostError(f"seccomp filters on {machine} are not known to inetprobe")
    folder = proc / str(pid)
    try:
        lines = privileges.status_lines(folder / "status")
        comm = until_nul((folder / "comm").read_bytes().removesuffix(b"\n"))
        cgroups = file_name(os.fsdecode((folder / "cgroup").read_bytes())).split("\n")
        raw = _CAP_NET_RAW in privileges.effective(folder / "status") and _governs_net(folder / "ns")
    except (FileNotFoundError, ProcessLookupError):
        raise UsageError(f"--pid {pid}: there is no such process") from None
    except PermissionError:
        raise HostError(f"process {pid} is another user's: run inetprobe as root") from None
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    mode = status.get("Seccomp", "0")
    if mode == "1":
        raise HostError(f"process {pid} is in seccomp's strict mode: any socket() kills it")
    cgroup = next((line.removeprefix("0::") for line in cgroups if line.startswith("0::")), None)
    groups = frozenset(map(int, [status["Gid"].split()[1], *status["Groups"].split()]))
    return Caller(pid, comm, cgroup, raw, groups, installed_filters.filters_of(pid) if mode == "2" else (), machine)


def _governs_net(namespaces: Path) -> bool:
    """Is the process's user namespace the one that owns its net namespace, or one above that?"""
    own = (namespaces / "user").stat().st_ino
    fd = os.open(namespaces / "net", os.O_RDONLY | os.O_CLOEXEC)
    request = _NS_GET_USERNS
    try:
        while True:
            above = fcntl.ioctl(fd, request)
            os.close(fd)
            fd, request = above, _NS_GET_PARENT
            if os.fstat(fd).st_ino == own:
                return True
    except PermissionError:  # beyond our own user namespace, or the initial one
        return False
    finally:
        os.close(fd)
