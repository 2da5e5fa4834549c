"""Runs the live tests in one VM: ``python -m tools.live [--name NAME] [--cpus N] [PYTEST ARGUMENTS]``.

The console log is in build/NAME-console.log if they fail.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.program import vm_compiler
from inetprobe.vm import kernels
from inetprobe.vm.run_in_vm import run_in_vm

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 4500.0
#: After an oops a kernel cannot be trusted with further tests: it ends the VM, whose console is shown. The security
#: modules are those of Debian from Linux 6.1 on: 5.10 has BPF LSM programs only where they are asked for.
KERNEL_ARGUMENTS = (
    "oops=panic",
    "lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor,selinux,smack,tomoyo,bpf",
)


def say(line: str) -> None:
    """Prints a line of progress."""
    print(f"live: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """The tests' exit status, or 125 if the VM itself failed."""
    parser = argparse.ArgumentParser(description="runs the live tests in one VM", allow_abbrev=False)
    parser.add_argument("--name", default="live", help="names the files in build/")
    parser.add_argument("--cpus", type=int, default=2)
    options, arguments = parser.parse_known_args()
    os.chdir(ROOT)
    os.environ["INETPROBE_CACHE"] = str(cache_folder())  # where Prometheus is; the guest has another home
    console_log = ROOT / "build" / f"{options.name}-console.log"
    os.environ["INETPROBE_LIVE_NAME"] = options.name
    argv = [sys.executable, "-m", "pytest", *(arguments or ["tests/live"])]
    try:
        kernel = kernels.resolve(os.environ.get("INETPROBE_LIVE_KERNEL"), say)
        status = run_in_vm(
            argv,
            vm_compiler.answer,
            kernel=kernel,
            cpus=options.cpus,
            append=KERNEL_ARGUMENTS,
            timeout_s=TIMEOUT_S + float(os.environ.get("INETPROBE_SOAK_SECONDS", "0")),
            console_log=console_log,
        )
    except InetprobeError as error:
        say(f"{error}")
        status = error.exit_code
    if status == 0:
        console_log.unlink()
    elif console_log.exists():
        say(f"the VM's console log is {console_log.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
