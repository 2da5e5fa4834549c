"""The command line of one VM: virtme-ng's ``virtme-run``, with the ports that it passes to qemu.

``vng`` itself builds a shell line from its arguments, which breaks with a space in a folder's name; ``virtme-run``,
which it calls, takes an argument list.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import inetprobe
from inetprobe.base import packages
from inetprobe.base.errors import VmError
from inetprobe.vm.emulator import Emulator
from inetprobe.vm.guest import protocol

MONITOR = "monitor"
"""The name of qemu's monitor among the ports."""

OVERLAYS = ("/etc", "/lib", "/home", "/opt", "/root", "/srv", "/usr", "/var", "/tmp")
"""Folders of the read-only root that programs expect to write to: their writes are lost with the VM."""

PASSED_ON = ("NO_COLOR", "TERM", "COLUMNS", "LINES", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "CI")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """The VM to boot."""

    kernel: Path
    cpus: int = 2
    memory: str = "3G"
    kvm: bool = False
    append: tuple[str, ...] = ()
    emulator: Emulator | None = None
    """The QEMU that emulates, where it is not the system's own."""
    qemu: tuple[str, ...] = ()
    """Further options of QEMU's. A machine that has some is emulated as QEMU's own default is, with no shortcuts."""


def find_virtme_run() -> Path:
    """``virtme-run`` beside this interpreter (the venv's), else on PATH. Raises VmError if it is missing."""
    beside = Path(sys.executable).parent / "virtme-run"
    program = beside if os.access(beside, os.X_OK) else shutil.which("virtme-run")
    if program is None:
        raise VmError("virtme-ng is not installed: pip install 'inetprobe[vm]' (in a checkout: make setup)")
    return Path(program)


def check_path(path: Path) -> None:
    """Raises VmError for a path that virtme-ng's initramfs would split on the kernel's command line."""
    if any(character in ' "' for character in str(path)):
        raise VmError(f"the VM cannot boot from {str(path)!r}, a path with a space or a quote in it: move it elsewhere")


def check_tools() -> None:
    """Raises VmError if virtme-ng, or a program that it needs, is missing or lies where no VM can boot from."""
    check_path(find_virtme_run())
    search = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    tools = ("qemu-system-x86_64", "busybox", "depmod")
    missing = [tool for tool in tools if shutil.which(tool, path=search) is None]
    if missing:
        raise VmError(f"the VM needs {', '.join(missing)}: {packages.install(*missing)}")


def quote_option(value: str) -> str:
    """``value`` quoted for qemu's comma-separated options."""
    return value.replace(",", ",,")


def qemu_options(machine: VirtualMachine, folder: Path, ports: Mapping[str, int]) -> list[str]:
    """Options of qemu that ``virtme-run`` does not set: our ports, the folder, and KVM with no silent fallback."""
    # By default there is an empty DVD drive, for which newer firmware waits half a minute, and room for 31 ports in
    # each serial device, whose 400 descriptors qemu polls thousands of times per second.
    options = ["-nodefaults", "-global", "virtio-serial-pci.max_ports=8", "-device", "virtio-serial-pci,id=inetprobe"]
    for number, name in enumerate(protocol.PORTS, start=1):
        options += ["-chardev", f"socket,id=inetprobe{number},fd={ports[name]}"]
        options += ["-device", f"virtserialport,bus=inetprobe.0,nr={number},name={name},chardev=inetprobe{number}"]
    options += ["-chardev", f"socket,id=monitor,fd={ports[MONITOR]}", "-mon", "chardev=monitor,mode=readline"]
    export = f"local,id=inetprobe,path={quote_option(str(folder))},security_model=none,multidevs=remap"
    options += ["-fsdev", export, "-device", f"virtio-9p-pci,fsdev=inetprobe,mount_tag={protocol.FOLDER_TAG}"]
    system = "local,id=system,path=/,security_model=none,multidevs=remap,readonly=on"
    options += ["-fsdev", system, "-device", f"virtio-9p-pci,fsdev=system,mount_tag={protocol.SYSTEM_TAG}"]
    if machine.kvm:
        options += ["-machine", "accel=kvm"]
    options += machine.qemu
    for firmware in machine.emulator.firmware if machine.emulator else ():
        options += ["-L", str(firmware)]
    return options


def guest_command() -> str:
    """The shell line that starts the agent in the guest, from the same files as this process."""
    package_root = str(Path(inetprobe.__file__).resolve().parents[1])
    program = f"import sys; sys.path.insert(0, {package_root!r}); from inetprobe.vm.guest.agent import main; main()"
    return shlex.join(["exec", sys.executable, "-I", "-S", "-X", "utf8", "-c", program])


def build(machine: VirtualMachine, folder: Path, ports: Mapping[str, int]) -> list[str]:
    """The whole argument list; ``ports`` maps each of ``protocol.PORTS`` and MONITOR to an inherited socket."""
    check_path(machine.kernel)
    virtme_run = find_virtme_run()
    argv = [str(virtme_run), "--kimg", str(machine.kernel), "--mods", "auto", "--disable-microvm", "--force-9p"]
    argv += ["--name", "inetprobe-vm", "--cpus", str(machine.cpus), "--memory", machine.memory]
    argv += [] if machine.kvm else ["--disable-kvm"]
    argv += ["--qemu-bin", str(machine.emulator.program)] if machine.emulator else []
    for overlay in OVERLAYS:
        argv += ["--overlay-rwdir", overlay] if Path(overlay).is_dir() else []
    argv += ["--show-boot-console"]
    # An emulated processor leaks nothing, and the mitigations cost a third of the speed; its CPUs share one time stamp
    # counter, but Linux doubts that and reads a device instead, for which all CPUs have to stop.
    emulated = () if machine.kvm or machine.qemu else ("mitigations=off", "tsc=reliable")
    for argument in ("loglevel=7", *emulated, *machine.append):
        argv += ["--kopt", argument]
    argv += ["--script-sh", guest_command()]
    return [*argv, "--qemu-opts", *qemu_options(machine, folder, ports)]


def guest_environment(host: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command in the guest, from the caller's."""
    environment = {key: host[key] for key in PASSED_ON if key in host}
    environment |= {key: value for key, value in host.items() if key.startswith("INETPROBE_")}
    environment.setdefault("LANG", "C.UTF-8")
    return environment | {
        "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
        "HOME": "/root",
        "USER": "root",
        "SHELL": "/bin/sh",
    }
