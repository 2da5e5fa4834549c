"""Runs a command in a cgroup namespace whose root is a cgroup: ``in_cgroup_namespace.py CGROUP COMMAND…``.

As a container has it: the only mounted hierarchy begins at the namespace's root, and is mounted where it was.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.live.cgroup_denial import cgroup2_root

if __name__ == "__main__":
    folder, *command = sys.argv[1:]
    if folder == "inside":
        root = cgroup2_root()
        subprocess.run(["umount", "--recursive", root], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "none", root], check=True)
        os.execvp(command[0], command)
    (Path(folder) / "cgroup.procs").write_text(str(os.getpid()))
    again = [sys.executable, "-m", "tests.live.in_cgroup_namespace", "inside", *command]
    os.execvp("unshare", ["unshare", "--cgroup", "--mount", *again])
