"""The QEMU for software emulation: newer than the system's where that is known to be unsound.

QEMU 7.2 with a thread for each CPU can keep a translation of code that another CPU is replacing at that moment. Linux
sets a kprobe by replacing code while all CPUs run, so a VM's kernel may meet a breakpoint that is no longer there, and
oops: seen with Debian's 6.1 after a few attachments under load, and never with QEMU 10.0. A kprobe is then dead on that
CPU until the next boot. 8.2 is the first sound version according to QEMU's history ("accel/tcg: Always lock pages
before translation"); it was not tested.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import VmError
from inetprobe.vm import debian
from inetprobe.vm.debian import Progress

SOUND = (8, 2)
PROGRAM = "qemu-system-x86_64"
_PACKAGES = ("qemu-system-x86", "qemu-system-data", "seabios")
_FIRMWARE = ("usr/share/qemu", "usr/share/seabios")


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU program, and the folders of its firmware where they are not the system's."""

    program: Path
    firmware: tuple[Path, ...] = ()


def resolve(progress: Progress) -> Emulator | None:
    """The QEMU to emulate with; None for the system's own.

    Where the system's is unsound, Debian's backport for the same release is fetched into the cache (13 MB, once) and
    uses the libraries that the system's QEMU came with. Where there is no backport, one line says so.
    """
    installed = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/bin")
    own = version(Path(installed)) if installed else None
    if own is None or own >= SOUND:
        return None
    folder = cache_folder() / "qemu"
    packages = debian.PackageSet("QEMU", f"{debian.codename()}-backports", lambda apt: _PACKAGES, _program)
    try:
        program = debian.ensure(packages, folder, progress)
        if version(program) is None:
            raise VmError(f"{program} does not run here")
    except VmError as error:
        name = ".".join(map(str, own))
        progress(f"emulating with QEMU {name}, under which a kernel may crash when probes are attached ({error})")
        return None
    return Emulator(program, tuple(folder / part for part in _FIRMWARE))


def version(program: Path) -> tuple[int, ...] | None:
    """(major, minor) of a QEMU, or None where it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version (\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _program(folder: Path) -> Path | None:
    program = folder / "usr/bin" / PROGRAM
    return program if program.is_file() else None
