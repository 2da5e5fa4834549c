"""Runs the live tests in one VM: ``live.py [--name NAME] [PYTEST ARGUMENTS]``.

The console log is in build/NAME-console.log if they fail. Compiled BPF programs outlive the VM, in the cache folder: an
emulated machine takes a quarter of a minute for one. For that the kernel is always at the same address.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import InetprobeError
from inetprobe.vm import kernels
from inetprobe.vm.run_in_vm import run_in_vm

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 4500.0
MAX_PROGRAMS = 500


def say(line: str) -> None:
    """Prints a line of progress."""
    print(f"live: {line}", file=sys.stderr, flush=True)


def keep_programs(compiled: Path) -> None:
    """Moves what the VM compiled to where the next VM finds it, and keeps the newest ``MAX_PROGRAMS``."""
    kept = cache_folder() / "live-programs"
    kept.mkdir(parents=True, exist_ok=True)
    new = list(compiled.glob("*.json"))
    for path in new:
        shutil.move(path, kept / path.name)
    say(f"{len(new)} BPF programs were compiled")
    for path in sorted(kept.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-MAX_PROGRAMS]:
        path.unlink()


def main() -> int:
    """The tests' exit status, or 125 if the VM itself failed."""
    os.chdir(ROOT)
    os.environ["INETPROBE_CACHE"] = str(cache_folder())  # where Prometheus is; the guest has another home
    name, arguments = "live", sys.argv[1:]
    if arguments[:1] == ["--name"]:
        name, arguments = arguments[1], arguments[2:]
    console_log = ROOT / "build" / f"{name}-console.log"
    programs = ROOT / "build" / f"{name}-programs"
    os.environ |= {"INETPROBE_LIVE_NAME": name, "INETPROBE_LIVE_PROGRAMS": str(programs)}
    argv = [sys.executable, "-m", "pytest", *(arguments or ["tests/live"])]
    try:
        kernel = kernels.resolve(os.environ.get("INETPROBE_LIVE_KERNEL"), say)
        # After an oops a kernel cannot be trusted with further tests: it ends the VM, whose console is shown.
        append = ["oops=panic", "nokaslr"]
        status = run_in_vm(argv, kernel=kernel, append=append, timeout_s=TIMEOUT_S, console_log=console_log)
    except InetprobeError as error:
        say(f"{error}")
        status = error.exit_code
    keep_programs(programs)
    if status == 0:
        console_log.unlink()
    elif console_log.exists():
        say(f"the VM's console log is {console_log.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
