"""`make soak`: two processes make a million sockets at full speed, by each mechanism; not part of `make test`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live.conftest import accounted, command

SOCKETS = int(os.environ.get("SOAK_SOCKETS", "1000000"))
MAKER = f"import socket\nfor _ in range({SOCKETS // 2}): socket.socket(2, 2, 0).close()"


def resident_kb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.mark.parametrize("mechanism", ["kprobe", "fentry"])
def test_a_million_sockets_are_all_recorded_in_constant_memory(mechanism, tmp_path):
    recording = tmp_path / "soak.arrows"
    argv = command("record", "-o", recording, "--mechanism", mechanism, "--comm", "soak")
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    while "tracing" not in tracer.stderr.readline():
        assert tracer.poll() is None
    named = f"import ctypes; ctypes.CDLL(None).prctl(15, b'soak')\n{MAKER}"
    makers = [subprocess.Popen([sys.executable, "-c", named]) for _ in range(2)]
    resident = []
    while any(maker.poll() is None for maker in makers):
        time.sleep(2)
        resident.append(resident_kb(tracer.pid))
    tracer.send_signal(2)
    _, err = tracer.communicate(timeout=120)
    assert tracer.returncode == 0, err
    replayed = subprocess.run(
        command("replay", recording, "--format", "json", "--type", "raw"), capture_output=True, text=True, check=True
    )
    summary = json.loads(replayed.stdout.splitlines()[-1])
    print(f"\n{mechanism}: {json.dumps(summary)}")
    print(f"{mechanism}: resident kB at the first, the middle and the last reading:", resident[0],
          resident[len(resident) // 2], resident[-1])  # fmt: skip
    assert accounted(summary)
    live = err.splitlines()[-1]
    print(f"{mechanism}: {live}")
    assert f"{2 * (SOCKETS // 2):,} calls, 0 failed, {2 * (SOCKETS // 2):,} complete, 0 incomplete, 0 lost" in live
    # Constant: the end of the run needs no more memory than the first half did, but for a batch or two.
    assert resident[-1] <= max(resident[: len(resident) // 2]) * 1.1
