"""The live tests on every kernel: ``python -m tools.kernels [KERNEL …]``.

What each suite prints stays in build/KERNEL-SUITE.txt. ``python tools/books.py`` prints the accounting of every run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from inetprobe.vm.kernels import SUITES
from tools import suites


def on(kernel: str, live: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The suites of ``live`` with ``kernel`` in their VMs."""
    settings = ["env", f"INETPROBE_LIVE_KERNEL={kernel}", "INETPROBE_LIVE_CYCLES=50"]
    return {
        f"{kernel} {name}": [*settings, *command, "--name", f"{kernel}-{name}".replace(" ", "-")]
        for name, command in live.items()
        if name.startswith("live")
    }


def main() -> int:
    """0 if every suite passed on every kernel."""
    kernels = sys.argv[1:] or list(SUITES)
    unknown = [kernel for kernel in kernels if kernel not in SUITES]
    if unknown:
        print(f"{unknown[0]} is none of the kernels {', '.join(SUITES)}", file=sys.stderr)
        return 2
    stages = []
    for of_one_kernel, at_once in suites.STAGES:
        chosen = [on(kernel, of_one_kernel) for kernel in kernels]
        stages.append(({name: command for part in chosen for name, command in part.items()}, at_once))
    return suites.run_stages(stages)


if __name__ == "__main__":
    sys.exit(main())
