"""What seccomp filters refuse: the constants of bpf/seccomp.h."""

from __future__ import annotations

from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import SECCOMP, Symbols


def constants(types: Btf, symbols: Symbols) -> dict[str, str]:
    """As -D constants; __secure_computing() has one argument, and none from Linux 6.18 on."""
    prototype = types.prototype(SECCOMP)
    return {
        "SECURE_COMPUTING_ARGUMENTS": str(prototype.arguments if prototype else 0),
        "TASK_PT_REGS": str(int("bpf_task_pt_regs" in symbols)),
        "OFF_TASK_STATUS": str(types.offset("task_struct", "thread_info", "status")),
        "OFF_TASK_SECCOMP_MODE": str(types.offset("task_struct", "seccomp", "mode")),
    }
