"""(e) The parts of a start; ``native`` leaves out loading and attaching, which this machine may refuse.

Measured in two processes: the first compiles the program, the second finds it in the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NATIVE = "native" in sys.argv
#: In the VM only CPU time, without the wait for its disk.
CLOCK = time.perf_counter if NATIVE else time.process_time
BEGUN = CLOCK()
_GOAL_S, _GOAL_MB = 1.5, 90


def main() -> None:
    """Prints seconds by stage; where instructions are counted, a second is 10⁹ of them."""
    if "measure" in sys.argv:
        _start()
        return
    with tempfile.TemporaryDirectory() as cache:
        for start in ("the first start, which compiles", "any later start with the same options"):
            print(f"{start}:", flush=True)
            command = [sys.executable, "-m", "tests.bench.guest_start", *sys.argv[1:], "measure"]
            subprocess.run(command, env={**os.environ, "INETPROBE_CACHE": cache}, check=True)


def _start() -> None:
    stages: dict[str, float] = {}
    last = BEGUN

    def done(stage: str) -> None:
        nonlocal last
        now = CLOCK()
        stages[stage] = now - last
        last = now

    from inetprobe.kernel import source  # noqa: F401 — its imports are a part of the start
    from inetprobe.kernel.host import btf
    from inetprobe.kernel.host.cgroups import Cgroups
    from inetprobe.kernel.host.kallsyms import Symbols
    from inetprobe.kernel.program import compiler
    from inetprobe.kernel.program import program as bpf
    from inetprobe.kernel.program.target import Target
    from inetprobe.kernel.trace_options import TraceOptions

    done("import inetprobe and numpy")
    types = btf.Btf.of_kernel()
    symbols = Symbols.of_kernel()
    options = TraceOptions()
    target = Target.of_kernel(options, types, symbols, Cgroups.of_host())
    done("BTF and symbols")

    def compiled(*args: object) -> object:
        done("the maps")
        result = compiler.compiled(*args)
        done("the compiled program")
        return result

    class Unattached(bpf.Program):
        def attach(self) -> None:
            pass

        def _load(self, function: str, side: str) -> int:
            return -1

    bpf.compiled = compiled
    program = (Unattached if NATIVE else bpf.Program)(options, target, print)
    done("its mappings" if NATIVE else "load and attach")
    for stage, seconds in stages.items():
        print(f"  {stage:36}{seconds:>8.3f} s")
    total = sum(stages.values())
    print(f"  {'in all':36}{total:>8.3f} s" + (f"    at most {_GOAL_S}: {_met(total <= _GOAL_S)}" if NATIVE else ""))
    if not NATIVE:
        status = Path("/proc/self/status").read_text()
        resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        print(
            f"  {'resident after attaching':36}{resident:>8.0f} MB    at most {_GOAL_MB}: {_met(resident <= _GOAL_MB)}"
        )
    program.close()


def _met(met: bool) -> str:
    return "met" if met else "missed"


if __name__ == "__main__":
    main()
