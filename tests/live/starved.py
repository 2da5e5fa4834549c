"""Makes TCP sockets in a memory cgroup with hardly any memory left: ``starved.py CGROUP``.

The OOM killer may not kill the cgroup's only process, so the kernel can only refuse memory. Which allocation fails
first, that of the inode, the sock or the file, depends on how full each slab is, so the limit rises in small steps.
The process's own memory is locked beforehand, since the kernel retries forever a page fault that finds no memory.
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
    """Makes sockets until REFUSED_EACH of them are refused; the others stay open."""
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
    memory_max = os.open(folder / "memory.max", os.O_WRONLY)
    limit = int((folder / "memory.current").read_text())
    for _ in range(STEPS):
        limit += STEP_BYTES
        os.write(memory_max, str(limit).encode())
        refuse()
    os.write(memory_max, b"max")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
