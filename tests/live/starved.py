"""Makes TCP sockets in a memory cgroup that has no room left, until enough of them have failed: ``starved.py CGROUP``.

The cgroup's only process may not be killed, so that the kernel has nothing to do but refuse. A parent outside the
cgroup lifts the limit in the end, since here not even a page fault would get a page.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

SOCKETS, ENOUGH, PATIENCE_S = 20000, 200, 60
libc = ctypes.CDLL(None, use_errno=True)


def starve(folder):
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    Path("/proc/self/oom_score_adj").write_text("-1000")
    made = (ctypes.c_int * SOCKETS)()
    libc.socket(2, 1, 0)
    limit = os.open(folder / "memory.max", os.O_WRONLY)
    current = int((folder / "memory.current").read_text())
    os.write(limit, str(current + (1 << 19)).encode())
    failed = 0
    for place in range(SOCKETS):
        made[place] = libc.socket(2, 1, 0)
        failed += made[place] < 0
        if failed == ENOUGH:
            break
    os.write(limit, b"max")
    os._exit(0 if failed else 3)


def main(folder):
    (folder.parent / "cgroup.subtree_control").write_text("+memory")
    child = os.fork()
    if not child:
        try:
            starve(folder)
        finally:
            os._exit(1)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            sys.exit(os.waitstatus_to_exitcode(status))
        if time.monotonic() > deadline:
            (folder / "memory.max").write_text("max")
        time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
