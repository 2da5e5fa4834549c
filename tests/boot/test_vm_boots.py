"""What `inetprobe vm` promises, with a real boot: each test is one, so there are few."""

import subprocess
import sys

GUEST = """
import os, socket, sys
from pathlib import Path
print(os.uname().release)
print(Path("/sys/kernel/tracing/kprobe_events").exists())
socket.socket(2, 1, 132)
print("sctp" in Path("/proc/modules").read_text())
print("on stderr", file=sys.stderr)
sys.exit(37)
"""
PROGRAM = f"""
import sys
from inetprobe.vm import kernels
from inetprobe.vm.run_in_vm import run_in_vm
sys.exit(run_in_vm([sys.executable, "-c", {GUEST!r}], kernel=kernels.resolve(None, lambda line: None)))
"""


def test_streams_status_and_modules_pass_through():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 37, done.stderr
    release, tracefs, sctp = done.stdout.splitlines()
    assert release.startswith("6.1.")
    assert (tracefs, sctp) == ("True", "True")
    assert "on stderr" in done.stderr
    assert "on stderr" not in done.stdout
