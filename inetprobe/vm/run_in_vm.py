"""``run_in_vm``: chooses the accelerator, boots, shows progress, returns the command's exit status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import UsageError, VmError
from inetprobe.base.text import printable
from inetprobe.vm import accel as accelerators
from inetprobe.vm import emulator, qemu
from inetprobe.vm.accel import Attempt
from inetprobe.vm.guest import protocol
from inetprobe.vm.session import BootError, Compile, Session
from inetprobe.vm.streams import Console

BOOT_TIMEOUT_S = 180.0
"""Ten times the duration of a boot under software emulation on two idle cores."""
ERASE_LINE = "\r\x1b[K"


class Progress:
    """Progress on stderr: one line rewritten in place on a terminal, elsewhere one line per event."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._in_place = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()
        self._step = ""
        self._shown = -1

    def start(self, step: str) -> None:
        """A step that takes a while begins."""
        self._started = time.monotonic()
        self._step = printable(step)
        if not self._in_place:
            self.say(f"{step} …")

    def tick(self) -> None:
        """The step still runs; may be called any number of times per second."""
        seconds = int(time.monotonic() - self._started)
        if self._in_place and seconds != self._shown:
            self._shown = seconds
            sys.stderr.write(f"{ERASE_LINE}inetprobe: {self._step} … {seconds} s")
            sys.stderr.flush()

    def done(self, result: str) -> None:
        """The step has ended."""
        self.say(f"{result} after {time.monotonic() - self._started:.1f} s")

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        if not self._quiet:
            sys.stderr.write(f"{ERASE_LINE if self._in_place else ''}inetprobe: {printable(line)}\n")
            sys.stderr.flush()


def run_in_vm(
    argv: Sequence[str],
    compile_: Compile,
    *,
    kernel: Path,
    cpus: int = 2,
    memory: str = "3G",
    accel: str = "auto",
    boot_timeout_s: float = BOOT_TIMEOUT_S,
    timeout_s: float | None = None,
    append: Sequence[str] = (),
    qemu_options: Sequence[str] = (),
    console_log: Path | None = None,
    quiet: bool = False,
) -> int:
    """Runs ``argv`` as root in a VM booted with ``kernel``; its exit status (128+n if signal n killed it).

    The current folder is the command's, read-write; the rest of the root file system can be read, and written without
    effect. stdin, stdout and stderr are passed through separately, and are terminals in the guest where they are here.
    The first SIGINT or SIGTERM goes to the command, a second one ends the VM. Blocks, for at most ``timeout_s`` after
    the boot. ``compile_`` compiles for the command's processes. ``append`` are arguments of the kernel,
    ``qemu_options`` further ones of QEMU (see VirtualMachine.qemu). ``console_log`` receives the whole console of the
    last attempt. Raises VmError, with the console's last lines, if the VM does not boot (BootError), dies, or takes
    longer.
    """
    if not argv:
        raise UsageError("no command was given for the VM")
    folder = _folder()
    qemu.check_tools()
    progress = Progress(quiet)
    kvm_history = accelerators.KvmHistory(cache_folder(), kernel, progress.say)
    attempts = accelerators.plan(accel, kvm_history.recall(), accelerators.obstacle(), boot_timeout_s)
    failed_trial = False
    for attempt in attempts:
        own = None if attempt.kvm or qemu_options else emulator.resolve(progress.say)
        machine = qemu.VirtualMachine(kernel, cpus, memory, attempt.kvm, tuple(append), own, tuple(qemu_options))
        boot = _Boot(machine, attempt, _job(argv, folder), compile_, progress, console_log)
        try:
            status = boot.run(timeout_s)
        except BootError:
            if not (attempt.trial or attempt.may_fail):
                raise
            failed_trial |= attempt.trial
            continue
        finally:
            if boot.booted and (attempt.trial or failed_trial):
                kvm_history.remember(attempt.kvm)
        return status
    raise VmError("no way to boot the VM is left")


class _Boot:
    """One attempt."""

    def __init__(
        self,
        machine: qemu.VirtualMachine,
        attempt: Attempt,
        job: protocol.Job,
        compile_: Compile,
        progress: Progress,
        log: Path | None,
    ) -> None:
        self._machine = machine
        self._attempt = attempt
        self._job = job
        self._compile = compile_
        self._progress = progress
        self._log = log
        self.booted = False

    def run(self, timeout_s: float | None) -> int:
        attempt = self._attempt
        self._progress.start(f"booting {kernel_label(self._machine.kernel)} with {attempt.name} ({attempt.why})")
        with _open_log(self._log) as log:
            session = Session(
                lambda ports: qemu.build(self._machine, Path(self._job.folder), ports),
                self._job,
                Console(log),
                self._compile,
                boot_timeout_s=attempt.boot_timeout_s,
                silence_s=attempt.silence_s,
                timeout_s=timeout_s,
                on_booted=self._on_booted,
                on_tick=self._progress.tick,
            )
            return session.run()

    def _on_booted(self, release: str) -> None:
        self.booted = True
        self._progress.done(f"Linux {release} is up")


def kernel_label(kernel: Path) -> str:
    """The name to show for a kernel image, with its folder where it is just ``vmlinuz``."""
    return kernel.name if kernel.name != "vmlinuz" else f"{kernel.parent.name}/{kernel.name}"


def _open_log(path: Path | None) -> BinaryIO | nullcontext[None]:
    if path is None:
        return nullcontext()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _folder() -> Path:
    """The folder that is read-write in the guest. Raises UsageError for /, which must never be."""
    folder = Path.cwd()
    if folder == Path("/"):
        raise UsageError("the VM makes the current folder writable, which / must not be: change to another folder")
    return folder


def _job(argv: Sequence[str], folder: Path) -> protocol.Job:
    """The job to run ``argv`` with this process's environment and terminals."""
    terminals = [name for name, fd in (("stdout", 1), ("stderr", 2)) if os.isatty(fd)]
    window = os.get_terminal_size(1 if "stdout" in terminals else 2) if terminals else os.terminal_size((80, 24))
    return protocol.Job(
        argv=list(argv),
        folder=str(folder),
        environment=qemu.guest_environment(os.environ),
        terminals=terminals,
        window=(window.lines, window.columns),
    )
