"""Debian's kernels for the throwaway VM, fetched into a cache and never installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import UsageError, VmError
from inetprobe.vm import debian
from inetprobe.vm.debian import Apt, Progress

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7.2": "sid", "7.3": "trixie-backports"}
"""The kernels that can be named, with their suites of Debian."""
DEFAULT = "6.1"
# sid says in os-release that it is the next release.
_ALSO_NAMED = {"forky": "sid"}
META_PACKAGE = "linux-image-amd64"
KERNEL_PART = re.compile(r"linux-(image|binary|modules|base)-\d\S*")
"""From 7.2 on a kernel is several packages; ``linux-base`` without a version is not one of them."""


def default_name(root: Path = Path("/")) -> str:
    """The kernel of this system's Debian suite, or DEFAULT on other systems."""
    codename = debian.codename(root) or ""
    codename = _ALSO_NAMED.get(codename, codename)
    return next((name for name, suite in SUITES.items() if suite == codename), DEFAULT)


def resolve(kernel: str | None, progress: Progress) -> Path:
    """The vmlinuz for ``--kernel``: a name of ``SUITES``, a path, or None for the default. Raises UsageError."""
    name = default_name() if kernel is None else kernel
    if name in SUITES:
        return ensure_kernel(name, progress)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"'{kernel}' is neither a kernel image nor one of {', '.join(SUITES)}")
    return path.absolute()


def ensure_kernel(name: str, progress: Progress) -> Path:
    """The vmlinuz of kernel ``name``, fetched first if it is not in the cache; its modules lie beside it.

    Blocks while it downloads (50 to 120 MB) or while another process does. Raises UsageError for an unknown name and
    VmError, with apt's own last words, when it cannot be fetched.
    """
    if name not in SUITES:
        raise UsageError(f"unknown kernel '{name}': use one of {', '.join(SUITES)}")
    packages = debian.PackageSet(f"Debian's kernel {name}", SUITES[name], _packages, find_vmlinuz, _index)
    try:
        return debian.ensure(packages, cache_folder() / "kernels" / name, progress)
    except VmError as error:
        raise VmError(f"{error}; --kernel also takes the path of a vmlinuz") from error


def find_vmlinuz(folder: Path) -> Path | None:
    """The kernel image in an unpacked package: under boot/, or (from 7.2) beside its modules."""
    for pattern in ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"):
        for image in sorted(folder.glob(pattern)):
            return image
    return None


def _index(folder: Path) -> None:
    """Indexes the modules as virtme-ng and modprobe expect them."""
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    for modules in (folder / "lib/modules").iterdir():
        debian.run(["depmod", "-b", str(folder), modules.name])


def _packages(apt: Apt) -> Sequence[str]:
    """The packages that together are the suite's kernel."""
    unread, parts = [META_PACKAGE], []
    while unread:
        for part in kernel_parts(apt.show(unread.pop())):
            if part not in parts:
                parts.append(part)
                unread.append(part)
    if not parts:
        raise VmError(f"{META_PACKAGE} names no kernel package")
    return sorted(parts)


def kernel_parts(description: str) -> list[str]:
    """The kernel's own packages among the dependencies that ``apt-cache show`` printed."""
    depends = re.search(r"^Depends: (.*)$", description, re.MULTILINE)
    names = re.findall(r"(?:^|[,|])\s*([^\s,|]+)", depends[1] if depends else "")
    return [name for name in names if KERNEL_PART.fullmatch(name)]
