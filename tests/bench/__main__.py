"""All measurements in one table: ``python -m tests.bench [a b c d e]``.

(a) and (b) run in a VM that counts instructions, (c) in an ordinary VM, (d) and (e) on this machine. (e) also runs in
the VM, for the steps that this machine's kernel refuses. Nothing here is a test.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from inetprobe.kernel.program import vm_compiler
from inetprobe.vm import kernels
from inetprobe.vm.run_in_vm import BOOT_TIMEOUT_S, run_in_vm
from tests.bench.guest_peers import SOCKETS

_HERE = Path(__file__).parent
_GUEST_S = 3000.0
# A nanosecond of the guest's clocks is one instruction: slow, and repeatable.
_ICOUNT = ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")


def say(line: str) -> None:
    """Prints a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def guest(module: str, *arguments: str, counted: bool) -> int:
    """Runs ``tests.bench.<module>`` in the VM."""
    argv = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    kernel = kernels.resolve(None, say)
    if counted:
        return run_in_vm(
            argv,
            vm_compiler.answer,
            kernel=kernel,
            cpus=1,
            accel="tcg",
            qemu_options=_ICOUNT,
            boot_timeout_s=3 * BOOT_TIMEOUT_S,
            timeout_s=_GUEST_S,
            quiet=True,
        )
    return run_in_vm(argv, vm_compiler.answer, kernel=kernel, timeout_s=_GUEST_S, quiet=True)


def build(folder: Path, source: str, *flags: str) -> str:
    """Compiles a C file of this folder into ``folder``. Returns the path of the result."""
    target = folder / Path(source).stem
    subprocess.run(["gcc", "-O2", *flags, "-o", str(target), str(_HERE / source)], check=True)
    return str(target)


def replay(folder: Path) -> int:
    """``bench_replay`` with the recordings that ``guest_peers`` made."""
    peers = ["--trace-dat", folder / "trace.dat", "--perf-data", folder / "perf.data", "--sockets", str(SOCKETS)]
    return subprocess.run([sys.executable, "-m", "tests.bench.bench_replay", *peers], check=False).returncode


def title(text: str) -> None:
    """Prints the title of a part."""
    print(f"\n{text}", flush=True)


def main() -> int:
    """Returns the first exit status that is not 0, or 0."""
    parts = sys.argv[1:] or list("abcde")
    statuses = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        if "a" in parts:
            title("(a) instructions that each tool adds to socket() and close()")
            statuses.append(guest("guest_probe", build(folder, "loop.c"), counted=True))
        if "b" in parts:
            title("(b) the drain")
            library = build(folder, "callback.c", "-shared", "-fPIC")
            statuses.append(guest("guest_drain", build(folder, "loop.c"), library, counted=True))
        if "c" in parts:
            title("(c) the highest rate of two busy processes at which nothing is lost")
            statuses.append(guest("guest_rate", build(folder, "pace.c"), counted=False))
        if "d" in parts:
            title("(d) replay, on this machine; what the peers print was recorded in the VM")
            statuses.append(guest("guest_peers", build(folder, "loop.c"), str(folder), counted=False))
            statuses.append(replay(folder))
    if "e" in parts:
        title("(e) from start to attached: on this machine, without loading and attaching")
        statuses.append(
            subprocess.run([sys.executable, "-m", "tests.bench.guest_start", "native"], check=False).returncode
        )
        title("    and in the VM: CPU time, where a second is 10⁹ instructions")
        statuses.append(guest("guest_start", counted=True))
    return next((status for status in statuses if status), 0)


if __name__ == "__main__":
    sys.exit(main())
