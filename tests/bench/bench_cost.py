"""What counting costs the counted, in guest instructions a socket()+close(): ``bench_cost.py`` boots a VM for it.

Under QEMU's -icount one nanosecond of the guest is one instruction, so that its CPU times are counts, repeatable to
half a percent. In the VM (``bench_cost.py guest LOOP``) one run after another measures the same loop.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from inetprobe import emulator, kernels
from inetprobe.buckets import DEFAULT_BOUNDS_NS
from inetprobe.filters import build
from inetprobe.kernel.cells import Counting
from inetprobe.sources.counting import CountingSource
from inetprobe.sources.live import LiveOptions, LiveSource

ICOUNT = "-accel tcg,thread=single -icount shift=0,sleep=off"


def measured(loop: str) -> int:
    """The loop's own median."""
    return int(subprocess.run([loop], capture_output=True, text=True, check=True).stdout)


def beside(source: LiveSource, loop: str) -> int:
    """The loop's median while ``source`` watches."""

    def take() -> None:
        for _ in source.batches():
            pass

    with source:
        if isinstance(source, CountingSource):
            source.start()
        thread = threading.Thread(target=take)
        thread.start()
        try:
            measured(loop)
            return measured(loop)
        finally:
            source.stop()
            thread.join()


def guest(loop: str) -> None:
    """Prints the table."""
    counting = Counting(DEFAULT_BOUNDS_NS, slow_ns=10**12, rate_limit=1000)
    base = measured(loop)
    print(f"nothing attached: {base}", flush=True)
    for mechanism in ("fentry", "kprobe"):
        plain = LiveOptions(mechanism=mechanism)
        none_of_its = LiveOptions(filters=build({"pid": ("1",)}), mechanism=mechanism)
        counted = LiveOptions(mechanism=mechanism, counting=counting)
        print(
            f"{mechanism}, counted, as by serve: +{beside(CountingSource(counted, None, print), loop) - base}",
            flush=True,
        )
        print(f"{mechanism}, filtered out: +{beside(LiveSource(none_of_its, None, print), loop) - base}", flush=True)
        print(f"{mechanism}, a record each: +{beside(LiveSource(plain, None, print), loop) - base}", flush=True)


def main() -> int:
    """The exit status of what ran in the VM."""
    if sys.argv[1:2] == ["guest"]:
        guest(sys.argv[2])
        return 0
    kernel = kernels.resolve(None, lambda line: print(line, file=sys.stderr))
    newer = emulator.resolve(lambda line: print(line, file=sys.stderr))
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(dir=root / "build") as folder:
        loop = f"{folder}/loop"
        subprocess.run(["gcc", "-O2", "-o", loop, str(Path(__file__).with_name("loop.c"))], check=True)
        command = shlex.join(["env", f"PYTHONPATH={root}", sys.executable, __file__, "guest", loop])
        argv = [
            f"{Path(sys.executable).parent}/vng",
            "-r",
            str(kernel),
            "--disable-kvm",
            "--cpus",
            "1",
            "--memory",
            "3G",
        ]
        argv += ["--rwdir", str(root), f"--qemu-opts={ICOUNT}"]
        if newer is not None:
            firmware = " ".join(f"-L {part}" for part in newer.firmware)
            argv += [f"--qemu={newer.program}", f"--qemu-opts={firmware}"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # vng looks there for its own tools
        done = subprocess.run([*argv, "--", command], env=os.environ | {"PATH": path}, stdin=subprocess.DEVNULL)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
