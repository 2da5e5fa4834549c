"""What seccomp filters refuse: the constants of bpf/seccomp.h."""

from __future__ import annotations

from pathlib import Path

from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import AUDIT_SECCOMP, SECCOMP, Symbols

_LOGGED = Path("proc/sys/kernel/seccomp/actions_logged")
_KILLS = ("kill_process", "kill_thread")
_UNSEEN = "sockets for which a seccomp filter kills are not seen without --seccomp"


def constants(types: Btf, symbols: Symbols) -> dict[str, str]:
    """As -D constants; __secure_computing() has one argument, and none from Linux 6.18 on."""
    prototype = types.prototype(SECCOMP)
    return {
        "SECURE_COMPUTING_ARGUMENTS": str(prototype.arguments if prototype else 0),
        "TASK_PT_REGS": str(int("bpf_task_pt_regs" in symbols)),
        "OFF_TASK_STATUS": str(types.offset("task_struct", "thread_info", "status")),
        "OFF_TASK_SECCOMP_MODE": str(types.offset("task_struct", "seccomp", "mode")),
    }


def unseen_kills(symbols: Symbols, root: Path = Path("/")) -> str | None:
    """A sentence about why the kernel does not tell audit_seccomp() of each thread that a filter kills; None where it
    does, or has no filters: kernel/seccomp.c seccomp_log()."""
    try:
        actions = (root / _LOGGED).read_text().split()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{_UNSEEN}: /{_LOGGED} cannot be read: {error.strerror}"
    if AUDIT_SECCOMP not in symbols:
        return f"{_UNSEEN}: this kernel has no {AUDIT_SECCOMP} (CONFIG_AUDITSYSCALL)"
    missing = [action for action in _KILLS if action not in actions]
    return f"{_UNSEEN}: kernel.seccomp.actions_logged lacks {' and '.join(missing)}" if missing else None
