"""The command that installs what is missing, by the system's own package manager."""

from __future__ import annotations

from pathlib import Path

#: ID of os-release, or a word of its ID_LIKE → the package manager.
_MANAGERS = {
    "debian": "apt",
    "fedora": "dnf",
    "rhel": "dnf",
    "centos": "dnf",
    "suse": "zypper",
    "opensuse": "zypper",
    "arch": "pacman",
    "alpine": "apk",
}
_INSTALL = {
    "apt": "apt install",
    "dnf": "dnf install",
    "zypper": "zypper install",
    "pacman": "pacman -S",
    "apk": "apk add",
}
#: What inetprobe needs of a system → its package for each manager.
_PACKAGES = {
    "libseccomp": {
        "apt": "libseccomp2",
        "dnf": "libseccomp",
        "zypper": "libseccomp2",
        "pacman": "libseccomp",
        "apk": "libseccomp",
    },
    "BCC": {"apt": "libbpfcc", "dnf": "bcc", "zypper": "libbcc0", "pacman": "bcc", "apk": "bcc"},
    "qemu-system-x86_64": {
        "apt": "qemu-system-x86",
        "dnf": "qemu-system-x86",
        "zypper": "qemu-x86",
        "pacman": "qemu-system-x86",
        "apk": "qemu-system-x86_64",
    },
    "busybox": {
        "apt": "busybox-static",
        "dnf": "busybox",
        "zypper": "busybox-static",
        "pacman": "busybox",
        "apk": "busybox-static",
    },
    "depmod": dict.fromkeys(_INSTALL, "kmod"),
}


def install(*needed: str, root: Path = Path("/")) -> str:
    """The command that installs ``needed``, keys of ``_PACKAGES``, on the system below ``root``; words where its
    package manager is not known."""
    manager = _manager(root)
    if manager is None:
        return f"install {' and '.join(needed)} with this system's package manager"
    return " ".join([_INSTALL[manager], *(_PACKAGES[name][manager] for name in needed)])


def _manager(root: Path) -> str | None:
    release = _os_release(root)
    systems = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((_MANAGERS[system] for system in systems if system in _MANAGERS), None)


def _os_release(root: Path) -> dict[str, str]:
    """The variables of os-release(5); empty where the system has none."""
    for path in (root / "etc/os-release", root / "usr/lib/os-release"):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        lines = (line.strip().partition("=") for line in text.splitlines())
        return {name: value.strip("\"'") for name, _, value in lines}
    return {}
