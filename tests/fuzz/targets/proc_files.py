"""/proc of a process that strangers named: its comm, a mapped file, its cgroup, a mount point of theirs.

The kernel escapes each in its own way, and what is read must be what it was before.
"""

import os
from pathlib import Path

from inetprobe.base import text
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols
from inetprobe.kernel.host import clock, privileges, process
from inetprobe.kernel.host.cgroups import Cgroups
from tests.fuzz import checks

DICTIONARY = (
    "\rCapEff:\t0", "\rNSpid:\tx", "\x0cNSpid:\tx", "\u2028", "\x85", "\x1c", "\x0b", ") R 1", " (deleted)", "cgroup2",
    "\x00", "0::/", " r-xp ", "Seccomp:\t1", "Gid:\t0",
)  # fmt: skip

_PID = 42
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_SELF = MappedProcess(_PID, 7 * _TICK_NS - clock.namespace_offset_ns(), 0x7FFD00001000)
_PROC = checks.folder_in_memory()
_OWN = _PROC / str(_PID)
_OWN.mkdir()
(_OWN / "root").mkdir()
(_OWN / "ns").symlink_to("/proc/self/ns")
_STATUS = (
    b"Name:\t%s\nState:\tS (sleeping)\nPid:\t42\nGid:\t7\t8\t9\t10\nGroups:\t11 12 \nNSpid:\t42\t3\n"
    b"CapEff:\t0000000000002000\nSeccomp:\t0\n"
)


class _Symbols:
    def resolve(self, addr, demangle):
        return b"main", 0x10, b"/usr/bin/x"

    def free(self):
        pass


def run(data):
    """A zero byte stands between the names."""
    names = [*data.split(b"\0"), b"", b"", b""]
    comm, cgroup = names[0][:15], b"/" + names[2][:4000]
    file = b"/x" + names[1][:4000].replace(b"/", b"_")  # no folder: only regular files are opened
    (_OWN / "comm").write_bytes(comm + b"\n")
    fields = [b"S", *[b"0"] * 18, b"7", *[b"0"] * 5, b"%d" % 0x7FFD00001000, *[b"0"] * 20]
    (_OWN / "stat").write_bytes(b"42 (%s) %s\n" % (comm, b" ".join(fields)))
    (_OWN / "status").write_bytes(_STATUS % _escaped(comm, b"\n\\"))
    cgroup = _escaped(cgroup, b" \t\n\\")
    (_OWN / "cgroup").write_bytes(b"3:cpu:/x\n0::%s\n" % cgroup)
    mapped = b"55a000000000-55a000001000 r-xp 00001000 08:01 99%s%s\n" % (b" " * 26, _escaped(file, b"\n"))
    (_OWN / "maps").write_bytes(mapped * 2)

    assert privileges.effective(_OWN / "status") == {13}
    caller = process.caller(_PID, _PROC)
    assert caller.comm == text.decode(comm.partition(b"\0")[0])
    assert caller.groups == {8, 11, 12}
    assert caller.cgroup == text.file_name(os.fsdecode(cgroup))
    side = UserSymbols(lambda pid: _Symbols(), _PROC).named(_SELF, [0x2010], 0)
    assert side.frames == ("main+0x10 (x)",), side
    mounts = _OWN / "mounts"
    where = _escaped(file, b" \t\n\\#")
    mounts.write_bytes(b"%s %s fuse.x rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n" % (where, where))
    assert Cgroups.of_host(mounts).root == Path("/sys/fs/cgroup")


def _escaped(name, special):
    """As seq_escape() and mangle_path() of the kernel's fs/seq_file.c write it."""
    return b"".join(b"\\%03o" % byte if byte in special else bytes([byte]) for byte in name)
