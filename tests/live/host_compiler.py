"""BPF programs are compiled by the machine that runs the VM, where that takes a second; in the VM it takes thirteen.

In the guest another file is mounted over inetprobe/kernel/libbcc.py, the script that compiles. It puts each task into a
folder in which tools/live.py looks, and gives what the real script answers on the host.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from inetprobe.kernel import libbcc
from inetprobe.record.cheader import bpf_folder
from tests.support.paths import ROOT

SCRIPT = Path(libbcc.__file__)
_MAIN = 'if __name__ == "__main__":'
_BY_THE_HOST = """
def _by_the_host() -> int:
    import hashlib, io, time

    task = sys.stdin.read()
    folders = [flag[2:] for flag in json.loads(task)["flags"] if flag.startswith("-I")]
    if not all(folder.startswith(%(root)r) for folder in folders):
        sys.stdin = io.StringIO(task)  # the host does not see this folder
        return _main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    path = Path(%(folder)r) / hashlib.sha256(task.encode()).hexdigest()
    path.with_suffix(".new").write_text(task)
    path.with_suffix(".new").rename(path.with_suffix(".task"))
    deadline = time.monotonic() + 120
    while not path.with_suffix(".answer").exists():
        if time.monotonic() > deadline:
            sys.exit("error: the host of the VM does not compile")
        time.sleep(0.05)
    answer = json.loads(path.with_suffix(".answer").read_text())
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    return answer["status"]


if __name__ == "__main__":
    sys.exit(_by_the_host())
"""


def mount(folder):
    """In the guest: from now on programs are compiled by the host, which looks into ``folder``."""
    text = SCRIPT.read_text().partition(_MAIN)[0] + _BY_THE_HOST % {
        "root": (f"{ROOT}/", str(bpf_folder())),
        "folder": str(folder),
    }
    replacement = Path(folder) / "libbcc.py"
    replacement.write_text(text)
    subprocess.run(["mount", "--bind", replacement, SCRIPT], check=True)


def unmount():
    """In the guest: from now on programs are compiled there."""
    subprocess.run(["umount", SCRIPT], check=True)


def answer_all(folder):
    """On the host: compiles whatever is asked for in ``folder`` by now."""
    for task in folder.glob("*.task"):
        done = subprocess.run(
            [sys.executable, "-I", SCRIPT],
            input=task.read_bytes(),
            env={**os.environ, "BCC_KERNEL_SOURCE": str(ROOT / "bpf")},
            capture_output=True,
            check=False,
        )
        answer = {"status": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
        new = task.with_suffix(".answered")
        new.write_text(json.dumps(answer))
        task.unlink()
        new.rename(task.with_suffix(".answer"))
