"""(e) From start to attached, split; ``native`` leaves out loading and attaching, which this machine may refuse."""

from __future__ import annotations

import sys
import time
from pathlib import Path

NATIVE = sys.argv[1:] == ["native"]
#: In the VM nobody's waiting for its disk is of interest.
CLOCK = time.perf_counter if NATIVE else time.process_time
BEGUN = CLOCK()


def main() -> None:
    """Prints seconds by stage; where instructions are counted, a second is 10⁹ of them."""
    stages: dict[str, float] = {}
    last = BEGUN

    def done(stage: str) -> None:
        nonlocal last
        now = CLOCK()
        stages[stage] = now - last
        last = now

    from inetprobe.kernel import bpf, btf, plan
    from inetprobe.kernel.symbols import Symbols
    from inetprobe.sources import live  # noqa: F401 — its imports are a part of the start

    done("import inetprobe and numpy")
    bpf._import_bcc()
    done("import bcc")
    types = btf.Btf.of_kernel()
    offsets = btf.offsets(types)
    symbols = Symbols.of_kernel()
    functions = symbols.present()
    options = plan.Options(offsets=offsets, fentry=plan.fentry_functions(types, functions))
    done("BTF and symbols")
    if NATIVE:
        program = bpf.Program.__new__(bpf.Program)
        program._bcc, program._options, program._whole_log = bpf._import_bcc(), options, None
        program._image, program._go_on = symbols.image, lambda: None
        program.mechanisms = options.mechanisms(functions)
        program.counters = program._make_counters()
        program._compile_with(["-DTASK_STORAGE"])
        done("compile")
    else:
        compile_s = 0.0
        inner = bpf.Program._compile_with

        def compile_with(self: bpf.Program, flags: list[str]) -> object:
            nonlocal compile_s
            before = CLOCK()
            try:
                return inner(self, flags)
            finally:
                compile_s += CLOCK() - before

        bpf.Program._compile_with = compile_with
        program = bpf.Program(options, symbols, print)
        done("load and attach")
        stages["load and attach"] -= compile_s
        stages["compile"] = compile_s
    for stage, seconds in stages.items():
        print(f"{stage:38}{seconds:>8.3f} s")
    goal = f"    at most 1.5: {'met' if sum(stages.values()) <= 1.5 else 'missed'}" if NATIVE else ""
    print(f"{'in all':38}{sum(stages.values()):>8.3f} s{goal}")
    if not NATIVE:
        status = Path("/proc/self/status").read_text()
        resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        print(
            f"{'resident after attaching':38}{resident:>8.0f} MB    at most 90: {'met' if resident <= 90 else 'missed'}"
        )
        program.close()


if __name__ == "__main__":
    main()
