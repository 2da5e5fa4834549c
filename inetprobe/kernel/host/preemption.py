"""Does the running kernel preempt its own code?

A program that fentry runs may then be preempted, and while it is, the kernel skips that program's other runs on the CPU
(``active`` of struct bpf_prog, in __bpf_prog_enter_recur() of kernel/bpf/trampoline.c). A kprobe's program runs with
preemption off.
"""

from __future__ import annotations

import re
from pathlib import Path

_DOES_NOT = ("none", "voluntary")
# The models of kernel/Kconfig.preempt that a kernel is built for, or with PREEMPT_DYNAMIC begins with.
_CONFIGURED = {"NONE": "none", "VOLUNTARY": "voluntary", "LAZY": "lazy", "": "full"}


def preemption(root: Path = Path("/")) -> str | None:
    """The model by which the kernel below ``root`` preempts itself: ``full``, ``lazy``, ``rt``, or ``unknown`` where
    that cannot be read; None where it does not.

    The kernel's version (init/Makefile) names what it was built for. With PREEMPT_DYNAMIC the model is chosen at boot
    or later: sched_dynamic_show() of kernel/sched/debug.c shows it, else the command line and the configuration tell.
    """
    built = re.findall(r"PREEMPT\w*", _read(root / "proc/sys/kernel/version"))
    if "PREEMPT_RT" in built:
        return "rt"
    if not built:
        return None
    model = "full"
    if "PREEMPT_DYNAMIC" in built:
        now = re.search(r"\((\w+)\)", _read(root / "sys/kernel/debug/sched/preempt"))
        asked = re.findall(r"(?:^|\s)preempt=(\w+)", _read(root / "proc/cmdline"))
        model = now[1] if now else asked[-1] if asked else _configured(root)
    return None if model in _DOES_NOT else model


def _configured(root: Path) -> str:
    release = _read(root / "proc/sys/kernel/osrelease").strip()
    chosen = re.search(r"^CONFIG_PREEMPT(?:_(NONE|VOLUNTARY|LAZY))?=y$", _read(root / f"boot/config-{release}"), re.M)
    return _CONFIGURED[chosen[1] or ""] if chosen else "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
