"""Can this machine be traced? One check per question, each with its finding and its fix.

Files are read below a root path, so that tests can give recorded trees; two checks ask this machine itself: does bpf()
load a program, and is there a compiler?
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inetprobe.base.errors import HostError
from inetprobe.kernel import libbcc
from inetprobe.kernel.host import privileges, syscall
from inetprobe.kernel.host.btf import Btf, offsets
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program.compiler import NO_LIBBCC
from inetprobe.kernel.program.target import MACHINES

Status = Literal["ok", "warning", "failed"]

_AS_ROOT = "run inetprobe as root (sudo inetprobe …)"
_TRACEFS = ("sys/kernel/tracing", "sys/kernel/debug/tracing")
_TRACE = "inetprobe trace -- python3 -c 'import socket; socket.socket()'"


@dataclass(frozen=True, slots=True)
class Check:
    """One question's answer. ``fix`` is empty where nothing is wrong."""

    name: str
    status: Status
    finding: str
    fix: str = ""


def examine(root: Path = Path("/")) -> list[Check]:
    """Every check, in an order in which a failure explains later ones."""
    return list(_examine(root))


def traceable(checks: list[Check]) -> bool:
    """Can inetprobe trace? Warnings do not prevent it."""
    return all(check.status != "failed" for check in checks)


def next_command(checks: list[Check]) -> str:
    """The one command to run next: a trace here, the question as root, or the trace in a VM."""
    if any(check.name == "privileges" and check.status == "failed" for check in checks):
        return "sudo inetprobe doctor"  # other failures may be due to missing rights
    return _TRACE if traceable(checks) else f"inetprobe vm -- {_TRACE.removeprefix('inetprobe ')}"


def _examine(root: Path) -> Iterator[Check]:
    yield _machine()
    yield _privileges(root)
    yield _lockdown(root)
    yield _bpf_allowed()
    yield _kprobes(root)
    yield _tracefs(root)
    yield _btf(root)
    yield from _symbols(root)
    yield _bcc()


def _machine() -> Check:
    machine = platform.machine()
    if machine in MACHINES:
        return Check("machine", "ok", f"Linux {platform.release()} on {machine}")
    return Check("machine", "failed", f"this is {machine}", "use an x86_64 machine: inetprobe knows its registers only")


def _privileges(root: Path) -> Check:
    if privileges.may_attach(root / "proc/self/status"):
        return Check("privileges", "ok", "root, or CAP_BPF with CAP_PERFMON")
    return Check("privileges", "failed", "neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON", _AS_ROOT)


def _lockdown(root: Path) -> Check:
    try:
        text = (root / "sys/kernel/security/lockdown").read_text()
    except OSError:
        return Check("lockdown", "ok", "this kernel has no lockdown, or it is not in use")
    mode = text[text.find("[") + 1 : text.find("]")] or "none"
    if mode == "confidentiality":
        return Check(
            "lockdown",
            "failed",
            "lockdown=confidentiality forbids reading kernel memory",
            "boot with lockdown=integrity or less",
        )
    return Check("lockdown", "ok", f"lockdown is {mode}, which does not stop tracing")


def _bpf_allowed() -> Check:
    try:
        os.close(syscall.load_program(syscall.KPROBE, "", syscall.RETURN_0))
    except syscall.ProgramRefused as refused:
        error = refused.errno or 0
    else:
        return Check("bpf", "ok", "bpf() loads kprobe programs")
    fixes = {
        errno.EPERM: "run as root, outside a container that filters bpf()",
        errno.ENOSYS: "use a kernel built with CONFIG_BPF_SYSCALL=y",
        errno.EINVAL: "use a kernel built with CONFIG_BPF_EVENTS=y",
    }
    return Check(
        "bpf",
        "failed",
        f"bpf() refuses to load a kprobe program: {os.strerror(error)}",
        fixes.get(error, "use a kernel built with CONFIG_BPF_EVENTS=y") + ", or trace in a VM: inetprobe vm -- trace",
    )


def _kprobes(root: Path) -> Check:
    if _find_tracefs(root) is None and not _has_symbol(root, "register_kprobe"):
        return Check(
            "kprobes", "failed", "this kernel has no kprobes", "use a kernel built with CONFIG_KPROBE_EVENTS=y"
        )
    enabled = root / "sys/kernel/debug/kprobes/enabled"
    if _read(enabled) == "0":
        return Check("kprobes", "failed", "kprobes are switched off", f"echo 1 > {enabled}")
    return Check("kprobes", "ok", "kprobes are there")


def _tracefs(root: Path) -> Check:
    tracefs = _find_tracefs(root)
    if tracefs is not None:
        return Check("tracefs", "ok", f"tracefs with kprobe_events at /{tracefs.relative_to(root)}")
    for folder in _TRACEFS:
        if (root / folder).is_dir() and not os.access(root / folder, os.X_OK):
            return Check("tracefs", "failed", f"tracefs at /{folder} is closed to this user", _AS_ROOT)
    return Check("tracefs", "failed", "tracefs is not mounted", "mount -t tracefs tracefs /sys/kernel/tracing")


def _btf(root: Path) -> Check:
    try:
        constants = offsets(Btf.of_kernel(root / "sys/kernel/btf/vmlinux"))
    except HostError as error:
        return Check("btf", "failed", str(error), "use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    return Check("btf", "ok", f"the kernel's BTF gives all {len(constants)} structure offsets")


def _symbols(root: Path) -> Iterator[Check]:
    try:
        symbols = Symbols.of_kernel(root / "proc/kallsyms")
    except HostError as error:
        yield Check("symbols", "failed", str(error), "run as root on a kernel built with CONFIG_KALLSYMS=y")
        return
    try:
        present = symbols.present()
    except HostError as error:
        yield Check("symbols", "failed", str(error), "trace in a VM: inetprobe vm -- trace")
        return
    yield Check("symbols", "ok", f"functions to trace: {', '.join(present)}")
    limits = symbols.limits()
    names = {
        "ipv4": "inet_create",
        "ipv6": "inet6_create",
        "modules": "__request_module",
        "prot_alloc": "sk_prot_alloc",
    }
    for check, name in names.items():
        if name in limits:
            yield Check(check, "warning", limits[name])
        else:
            yield Check(check, "ok", f"{name} is there")


def _bcc() -> Check:
    try:
        libbcc.load()
    except OSError as error:
        return Check("bcc", "failed", f"there is no compiler: {error}", NO_LIBBCC)
    return Check("bcc", "ok", f"bcc {libbcc.version() or 'of unknown version'}")


def _find_tracefs(root: Path) -> Path | None:
    for folder in _TRACEFS:
        if _readable(root / folder / "kprobe_events"):
            return root / folder
    return None


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _has_symbol(root: Path, name: str) -> bool:
    try:
        return name in Symbols.of_kernel(root / "proc/kallsyms")
    except HostError:
        return False


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
