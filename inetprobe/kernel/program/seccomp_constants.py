"""What seccomp filters refuse: the constants of bpf/seccomp.h."""

from __future__ import annotations

from pathlib import Path

from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import SECCOMP, Symbols

_LOGGED = Path("/proc/sys/kernel/seccomp/actions_logged")


def constants(types: Btf, symbols: Symbols) -> dict[str, str]:
    """As -D constants; __secure_computing() has one argument, and none from Linux 6.18 on."""
    prototype = types.prototype(SECCOMP)
    return {
        "SECURE_COMPUTING_ARGUMENTS": str(prototype.arguments if prototype else 0),
        "TASK_PT_REGS": str(int("bpf_task_pt_regs" in symbols)),
        "OFF_TASK_STATUS": str(types.offset("task_struct", "thread_info", "status")),
        "OFF_TASK_SECCOMP_MODE": str(types.offset("task_struct", "seccomp", "mode")),
    }


def kills_are_logged(logged: Path = _LOGGED) -> bool:
    """Does the kernel call audit_seccomp() for each thread that a filter kills? kernel/seccomp.c seccomp_log()."""
    try:
        return {"kill_process", "kill_thread"} <= set(logged.read_text().split())
    except OSError:  # a kernel without filters, or a /proc that hides it
        return False
