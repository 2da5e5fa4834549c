"""Makes every socket of one part of the sweep, with one process per case: ``sweeper.py FOLDER PART``.

FOLDER gets a file per case with the errno of each request, and one with the process ID. SCTP cannot be unloaded, since
its own control sockets hold it, so the parts must run in the order ABSENT, AUTOLOAD, LOADED. The C library is called
because Python's socket module refuses some arguments itself.
"""

import contextlib
import ctypes
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
libc = ctypes.CDLL(None, use_errno=True)

INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
EXTREMES = (INT_MIN, -1000, 300, 511, 512, 65535, 65536, 65542, 1 << 20, INT_MAX)
ALL_TYPES, ALL_PROTOCOLS = range(-1, 16), (*range(-1, 265), *EXTREMES)
# Types and protocols whose outcome a protosw, a sysctl or a capability decides.
FEW_TYPES, FEW_PROTOCOLS = range(1, 7), (0, 1, 6, 17, 33, 58, 115, 132, 136, 255, 256, 262)
# Types and protocols that a module provides: each request may start modprobe twice.
MODULE_TYPES, MODULE_PROTOCOLS = (1, 2, 5, 6), (0, 33, 115, 132, 256)

MODULES = ("sctp", "l2tp_ip", "l2tp_ip6", "dccp_ipv4", "dccp_ipv6", "smc")
MODPROBE, PING, MPTCP = (
    Path("/proc/sys") / name for name in ("kernel/modprobe", "net/ipv4/ping_group_range", "net/mptcp/enabled")
)
EVERYONE, NO_ONE = "0 2147483647", "1 0"


@dataclass(frozen=True)
class Case:
    name: str
    full: bool = False
    user: str = "root"
    loaded: bool = False  # whether the modules are loaded
    autoload: bool = False  # whether modprobe works
    ping: str = NO_ONE
    mptcp: str = "1"
    denied: bool = False  # whether a cgroup's BPF program refuses

    def requests(self):
        types, protocols = (ALL_TYPES, ALL_PROTOCOLS) if self.full else (FEW_TYPES, FEW_PROTOCOLS)
        if self.autoload:
            types, protocols = MODULE_TYPES, MODULE_PROTOCOLS
        return [(family, type_, protocol) for family in (2, 10) for type_ in types for protocol in protocols]


ABSENT = [Case(f"full-{user}-absent", full=True, user=user) for user in ("root", "nobody")]
AUTOLOAD = [Case("autoload", autoload=True)]
LOADED = [
    *(Case(f"full-{user}-loaded", full=True, user=user, loaded=True) for user in ("root", "nobody")),
    *(
        Case(f"ping-{len(ping)}-mptcp-{mptcp}-denied-{denied}-{user}", False, user, True, False, ping, mptcp, denied)
        for ping, mptcp, denied, user in itertools.product((NO_ONE, EVERYONE), "01", (False, True), ("root", "nobody"))
    ),
]
PARTS = {"absent": ABSENT, "autoload": AUTOLOAD, "loaded": LOADED}


@lru_cache
def available():
    """Returns those of MODULES that this kernel has, each after the modules that it needs."""
    return tuple(m for m in MODULES if not subprocess.run(["modprobe", "-q", "-n", m], check=False).returncode)


def prepare(case):
    """Loads the modules, or checks that none is loaded, as the case needs."""
    if case.loaded:
        for module in available():
            subprocess.run(["modprobe", module], check=True)
    else:
        loaded = [module for module in MODULES if Path("/sys/module", module).exists()]
        assert not loaded, f"{loaded} are loaded already"


def sweep(case, out, cgroup):
    if case.denied:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    if case.user == "nobody":
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    errnos = []
    for request in case.requests():
        fd = libc.socket(*request)
        errnos.append(0 if fd >= 0 else ctypes.get_errno())
        if fd >= 0:
            os.close(fd)
    os.write(out, "\n".join(map(str, errnos)).encode())


def run(case, folder, cgroup):
    out = os.open(folder / case.name, os.O_WRONLY | os.O_CREAT)  # opened as root, written to as case.user
    modprobe = MODPROBE.read_text()
    if not case.autoload:
        MODPROBE.write_text("\n")
    try:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                sweep(case, out, cgroup)
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert not status, f"{case.name} ended with {status}"
    finally:
        MODPROBE.write_text(modprobe)
        os.close(out)
    (folder / f"{case.name}.pid").write_text(str(child))


def main(folder, part):
    sys.path.insert(0, str(HERE))
    import cgroup_denial

    before = {path: path.read_text() for path in (PING, MPTCP) if path.exists()}
    try:
        with cgroup_denial.cgroup() as cgroup:
            cgroup_denial.deny(cgroup)
            prepare(PARTS[part][0])
            for case in PARTS[part]:
                for path, value in ((PING, case.ping), (MPTCP, case.mptcp)):
                    if path.exists():
                        path.write_text(value + "\n")
                run(case, folder, cgroup)
    finally:
        for path, value in before.items():
            path.write_text(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
