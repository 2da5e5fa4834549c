"""Can this machine be traced? One check per question, each with its finding and its fix.

``doctor`` makes all of them and then tries each mechanism; a live run makes the quick ones before it does anything
else. Files are read below a root path, so that tests can give recorded trees; bpf(), the compiler and the trial are
this machine's own.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from inetprobe.base import packages
from inetprobe.base.errors import HostError
from inetprobe.kernel import libbcc, trial
from inetprobe.kernel.host import kprobe, landlock, privileges, syscall, system_call_filter, tracefs
from inetprobe.kernel.host.btf import Btf, offsets
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.host.preemption import preemption
from inetprobe.kernel.program.compiler import compile_program
from inetprobe.kernel.program.seccomp_constants import unseen_kills
from inetprobe.kernel.program.target import MACHINES, Target, fentry_functions

Status = Literal["ok", "warning", "failed"]

_KALLSYMS, _BTF = "proc/kallsyms", "sys/kernel/btf/vmlinux"
_TRACE = "inetprobe trace -- python3 -c 'import socket; socket.socket()'"
_IN_A_VM = "trace in a VM: inetprobe vm -- trace"
# The tracepoint that every run attaches to.
_EXIT = "sched_process_exit"


@dataclass(frozen=True, slots=True)
class Check:
    """One question's answer. ``fix`` is empty where nothing is wrong."""

    name: str
    status: Status
    finding: str
    fix: str = ""


def demand(root: Path = Path("/")) -> None:
    """Raises HostError with the first failure of the checks that take a millisecond in all."""
    for check in (_machine(), _privileges(root), _lockdown(root), _bpf_allowed(root), _tracefs(root), _kallsyms(root)):
        if check.status == "failed":
            raise HostError(check.finding, check.fix)


def demand_probes(target: Target, mechanism: str, root: Path = Path("/")) -> None:
    """Raises HostError where ``target`` needs kprobes and the kernel has none, before seconds go into compiling."""
    check = _kprobes(root)
    if check.status != "failed":
        return
    if "kprobe" not in target.mechanisms(mechanism).values():
        reason = trial.failure(partial(trial.trampoline, syscall.FENTRY, next(iter(target.fentry.values()))))
        if reason is None:
            return
        raise HostError(f"{check.finding}, and fentry does not work ({reason})", check.fix)
    raise HostError(check.finding, check.fix)


def examine(root: Path = Path("/")) -> list[Check]:
    """Every check, in an order in which a failure explains later ones; last, if none failed, the trial."""
    bcc, code = _bcc()
    checks = [*_examine(root), *_confinement(), bcc]
    failed = [check.name for check in checks if check.status == "failed"]
    if failed:
        return [*checks, Check("trial", "warning", f"no probe was tried, since this failed: {', '.join(failed)}")]
    return [*checks, *_trial(root, code)]


def traceable(checks: list[Check]) -> bool:
    """Can inetprobe trace? Warnings do not prevent it."""
    return all(check.status != "failed" for check in checks)


def next_command(checks: list[Check]) -> str:
    """The one command to run next: a trace here, the question as root, or the trace in a VM."""
    if os.geteuid() and any(check.name == "privileges" and check.status == "failed" for check in checks):
        return "sudo inetprobe doctor"  # other failures may be due to missing rights
    return _TRACE if traceable(checks) else f"inetprobe vm -- {_TRACE.removeprefix('inetprobe ')}"


def _examine(root: Path) -> Iterator[Check]:
    yield _machine()
    yield _privileges(root)
    yield _lockdown(root)
    yield _bpf_allowed(root)
    yield _kprobes_or_fentry(root)
    yield _tracefs(root)
    yield _btf(root)
    yield _mechanism(root)
    symbols = _kallsyms(root)
    if symbols.status == "failed":
        yield symbols
    else:
        yield from _symbols(root)


def _machine() -> Check:
    machine = platform.machine()
    if machine in MACHINES:
        return Check("machine", "ok", f"Linux {platform.release()} on {machine}")
    return Check("machine", "failed", f"this is {machine}", "use an x86_64 machine: inetprobe knows its registers only")


def _privileges(root: Path) -> Check:
    status = root / "proc/self/status"
    if not status.exists():
        return Check("privileges", "failed", "/proc is not mounted here", "mount -t proc proc /proc")
    if privileges.may_attach(status):
        return Check("privileges", "ok", "root, or CAP_BPF with CAP_PERFMON")
    if os.geteuid():
        finding = "tracing needs root (or CAP_BPF and CAP_PERFMON, and access to tracefs)"
        return Check("privileges", "failed", finding, "run it again with sudo")
    return Check(
        "privileges",
        "failed",
        "root has neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON here",
        "start the container with --cap-add=bpf --cap-add=perfmon --cap-add=sys_admin",
    )


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


def _bpf_allowed(root: Path) -> Check:
    try:
        os.close(syscall.load_program(syscall.KPROBE, "", syscall.RETURN_0))
    except syscall.ProgramRefused as refused:
        error = refused.errno or 0
    else:
        return Check("bpf", "ok", "bpf() loads kprobe programs")
    finding = f"bpf() refuses to load a kprobe program ({os.strerror(error)})"
    if error != errno.EPERM:
        option = "CONFIG_BPF_SYSCALL" if error == errno.ENOSYS else "CONFIG_BPF_EVENTS"
        return Check("bpf", "failed", finding, f"boot a kernel with {option}=y, or {_IN_A_VM}")
    may = _privileges(root)
    if may.status == "failed":
        return Check("bpf", "failed", finding, may.fix)
    if not _in_initial_userns(root):
        return Check("bpf", "failed", f"{finding} to root of a user namespace", "start the container as real root")
    return Check("bpf", "failed", finding, f"start the container with --security-opt seccomp=unconfined, or {_IN_A_VM}")


def _in_initial_userns(root: Path) -> bool:
    """The initial user namespace maps every id to itself (user_namespaces(7))."""
    return _read(root / "proc/self/uid_map").split() == ["0", "0", "4294967295"]


def _kprobes(root: Path) -> Check:
    if not _has_pmu(root) and not any(
        os.access(folder / "kprobe_events", os.F_OK) for folder in _tracefs_folders(root)
    ):
        if not (root / "sys/bus").is_dir():
            return Check("kprobes", "failed", "/sys is not mounted here", "mount -t sysfs sysfs /sys")
        fix = f"boot a kernel with CONFIG_KPROBE_EVENTS=y, or {_IN_A_VM}"
        return Check("kprobes", "failed", "this kernel has no kprobes", fix)
    enabled = root / "sys/kernel/debug/kprobes/enabled"
    if _read(enabled) == "0":
        return Check("kprobes", "failed", "kprobes are switched off", f"echo 1 > {enabled}")
    refused = kprobe.refusal()
    if refused is not None:
        level = _read(root / "proc/sys/kernel/perf_event_paranoid") or "unknown"
        finding = f"perf_event_open() is refused ({refused.strerror}; kernel.perf_event_paranoid is {level})"
        fix = "add CAP_SYS_ADMIN (a container: --cap-add=sys_admin), or sysctl kernel.perf_event_paranoid=2"
        return Check("kprobes", "failed", finding, fix)
    return Check("kprobes", "ok", "kprobes are there")


def _kprobes_or_fentry(root: Path) -> Check:
    check = _kprobes(root)
    if check.status == "failed" and not _needs_kprobes(root):
        return Check("kprobes", "warning", f"{check.finding}: fentry has to do without them")
    return check


def _needs_kprobes(root: Path) -> bool:
    """Has the path a function that fentry cannot attach to, such as the variadic __request_module?"""
    try:
        present = Symbols.of_kernel(root / _KALLSYMS).present()
        return not set(present) <= set(_by_fentry(root, present))
    except HostError:
        return True


def _by_fentry(root: Path, present: Mapping[str, str]) -> dict[str, int]:
    """The functions that fentry can attach to, with their BTF ids: none that the compiler renamed."""
    return fentry_functions(Btf.of_kernel(root / _BTF), [name for name, symbol in present.items() if name == symbol])


def _tracefs(root: Path) -> Check:
    folders = _tracefs_folders(root)
    try:
        folder, writable = tracefs.tracefs(folders), tracefs.writable(folders) is not None
    except HostError as error:
        return Check("tracefs", "failed", error.finding, error.fix)
    unnamed = _has_pmu(root)
    if folder is None and not unnamed:
        return Check("tracefs", "ok", "not needed: there are no kprobes to name in it")
    if folder is None:
        finding = "tracefs is not mounted"
        fix = "mount -t tracefs tracefs /sys/kernel/tracing"
    elif not writable:
        finding = f"/{folder.relative_to(root)}/kprobe_events cannot be written"
        fix = f"mount -o remount,rw /{folder.relative_to(root)}"
    else:
        return Check("tracefs", "ok", f"tracefs with kprobe_events at /{folder.relative_to(root)}")
    fix += " (a container: start it with -v /sys/kernel/tracing:/sys/kernel/tracing)"
    if unnamed:
        return Check("tracefs", "warning", f"{finding}: kprobes have no names, and their hits are not counted", fix)
    return Check("tracefs", "failed", finding, fix)


def _has_pmu(root: Path) -> bool:
    return (_below(root, kprobe.PMU) / "type").exists()


def _btf(root: Path) -> Check:
    try:
        constants = offsets(Btf.of_kernel(root / _BTF))
    except HostError as error:
        return Check("btf", "failed", error.finding, error.fix)
    return Check("btf", "ok", f"the kernel's BTF gives all {len(constants)} structure offsets")


def _mechanism(root: Path) -> Check:
    """Which mechanism ``auto`` takes, and why: see Target.mechanisms."""
    model = preemption(root)
    if model is None:
        return Check("mechanism", "ok", "auto takes fentry where it can: this kernel does not preempt itself")
    if model != "unknown":
        finding = f"auto takes kprobes: this kernel preempts itself ({model}), and would skip fentry programs meanwhile"
        return Check("mechanism", "ok", finding)
    finding = "auto takes kprobes: whether this kernel preempts itself, and skips fentry programs, cannot be read"
    return Check("mechanism", "warning", finding, "mount -t debugfs debugfs /sys/kernel/debug, if fentry is wanted")


def _kallsyms(root: Path) -> Check:
    """Has it any content?"""
    try:
        with (root / _KALLSYMS).open("rb") as file:
            content = file.read(1)
    except FileNotFoundError:
        fix = f"boot a kernel with CONFIG_KALLSYMS=y, or {_IN_A_VM}"
        return Check("symbols", "failed", "this kernel has no /proc/kallsyms", fix)
    except OSError:
        content = b""
    if content:
        return Check("symbols", "ok", "/proc/kallsyms has content")
    return Check(
        "symbols",
        "failed",
        "/proc/kallsyms is hidden here",
        "start the container with --security-opt systempaths=unconfined, or the unit with ProtectKernelTunables=no",
    )


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
    unseen = unseen_kills(symbols, root)
    if unseen is not None:
        yield Check("seccomp", "warning", unseen)
    else:
        yield Check("seccomp", "ok", "sockets for which a seccomp filter kills are seen")


def _confinement() -> Iterator[Check]:
    """What a live run can give up beside its capabilities: see confinement."""
    files = landlock.version()
    if files.number >= landlock.WITH_PORTS:
        yield Check("landlock", "ok", f"a live run closes files and TCP ports to itself (Landlock {files.number})")
    elif files.number:
        finding = f"a live run closes files to itself (Landlock {files.number}), not TCP ports: Linux 6.7 has that"
        yield Check("landlock", "ok", finding)
    else:
        finding = f"the files that root owns stay open to a live run: this kernel has no Landlock ({files.why})"
        yield Check("landlock", "warning", finding, "boot Linux 5.13 or later with landlock among its lsm=")
    version = system_call_filter.library()
    if version is not None:
        yield Check("libseccomp", "ok", f"a live run refuses itself system calls (libseccomp {version})")
    else:
        finding = "a live run can execute programs and open sockets: there is no libseccomp"
        yield Check("libseccomp", "warning", finding, packages.install("libseccomp"))


def _bcc() -> tuple[Check, bytes]:
    """Is there a compiler that works? And the code that it gave, or what it should have given."""
    try:
        code = compile_program(trial.TEXT, (), None, trial.LIMIT_S)
    except HostError as error:
        path = libbcc.installed()
        version = None if path is None else libbcc.version([str(path)])
        finding = error.finding if version is None else f"{error.finding} (bcc {version})"
        return Check("bcc", "failed", finding, error.fix), syscall.RETURN_0
    version = libbcc.version(path for path, _, _ in code.libraries)
    return Check("bcc", "ok", f"bcc {version or 'of unknown version'} compiles"), code.functions[trial.NAME]


def _trial(root: Path, code: bytes) -> Iterator[Check]:
    """Attaches ``code`` by each mechanism; functions are the first of the path that it can take."""
    present = Symbols.of_kernel(root / _KALLSYMS).present()
    name, symbol = next(iter(present.items()))
    fentry = _by_fentry(root, present)
    folder = tracefs.writable(_tracefs_folders(root))
    attempts: dict[str, tuple[str, Callable[[], None]]] = {}
    if _kprobes(root).status == "ok":
        naming = "named in tracefs" if folder else "without a name"
        attempts["kprobe"] = (
            f"a kprobe and a kretprobe on {name}, {naming}",
            partial(trial.kprobes, folder, symbol, code),
        )
    for function, btf_id in list(fentry.items())[:1]:
        for name, type_ in (("fentry", syscall.FENTRY), ("fexit", syscall.FEXIT)):
            attempts[name] = f"{name} on {function}", partial(trial.trampoline, type_, btf_id, code)
    attempts["tracepoint"] = _EXIT, partial(trial.tracepoint, _EXIT, code)
    try:
        failures = {name: trial.failure_in_child(attempt) for name, (_, attempt) in attempts.items()}
    finally:
        if folder is not None:  # where the child died, its kprobe stays
            tracefs.remove_leftovers(folder)
    by_kprobe = failures.get("kprobe", "not tried") is None
    by_fentry = all(failures.get(name, "not tried") is None for name in ("fentry", "fexit"))
    replaced = {"kprobe": by_fentry and set(present) <= set(fentry), "fentry": by_kprobe, "fexit": by_kprobe}
    for name, (target, _) in attempts.items():
        if failures[name] is None:
            yield Check(name, "ok", f"attached and detached: {target}")
        elif replaced.get(name):
            other = "fentry" if name == "kprobe" else "kprobes"
            yield Check(name, "warning", f"{target}: {failures[name]}: {other} can do without it")
        else:
            yield Check(name, "failed", f"{target}: {failures[name]}", _IN_A_VM)


def _tracefs_folders(root: Path) -> tuple[Path, ...]:
    return tuple(_below(root, folder) for folder in tracefs.TRACEFS)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _read(path: Path) -> str:
    """Its text; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
