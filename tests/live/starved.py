"""Makes TCP sockets in a memory cgroup that has hardly any room left: ``starved.py CGROUP``.

The cgroup's only process may not be killed, so that the kernel has nothing to do but refuse. What a socket lacks
first, its inode, its sock or its file, depends on how full each slab is: hence the room grows a little now and then.
All of the process's own memory is locked beforehand, since a page fault that finds none is tried again for ever.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

STEPS, REFUSED_EACH, STEP_BYTES = 40, 10, 16 << 10
MCL_CURRENT, MCL_FUTURE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def refuse():
    """Makes sockets until ten more were refused; the others stay open."""
    refused = 0
    while refused < REFUSED_EACH:
        refused += libc.socket(2, 1, 0) < 0


def main(folder):
    (folder.parent / "cgroup.subtree_control").write_text("+memory")
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    Path("/proc/self/oom_score_adj").write_text("-1000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16))
    os.close(libc.socket(2, 1, 0))
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE):
        raise OSError(ctypes.get_errno(), "mlockall")
    limit = os.open(folder / "memory.max", os.O_WRONLY)
    room = int((folder / "memory.current").read_text())
    for _ in range(STEPS):
        room += STEP_BYTES
        os.write(limit, str(room).encode())
        refuse()
    os.write(limit, b"max")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
