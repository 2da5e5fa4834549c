"""Debian's kernels for the throwaway VM, fetched into a cache and never installed.

The packages come through the mirror this system already uses, with apt's own verification of their signatures, but
with a private apt configuration: its lists, its cache and its idea of what is installed are folders of ours.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inetprobe import aptsources
from inetprobe.aptsources import ARCHIVE_KEYRING, Source
from inetprobe.errors import UsageError, VmError

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
"""The kernels that can be named, and the suite of Debian each one is from."""
DEFAULT = "6.1"
META_PACKAGE = "linux-image-amd64"
KERNEL_PART = re.compile(r"linux-(image|binary|modules|base)-\d\S*")
"""From 7.2 on a kernel is several packages; ``linux-base`` without a version is not one of them."""

Progress = Callable[[str], None]


def cache_folder() -> Path:
    """``$INETPROBE_CACHE``, else ``inetprobe`` in the user's cache folder (XDG)."""
    if own := os.environ.get("INETPROBE_CACHE"):
        return Path(own).absolute()
    if (xdg := os.environ.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
        return Path(xdg) / "inetprobe"
    return Path.home() / ".cache" / "inetprobe"


def default_name(root: Path = Path("/")) -> str:
    """The kernel of this system's own Debian suite, or the default one where it has none."""
    codename = _codename(root)
    return next((name for name, suite in SUITES.items() if suite == codename), DEFAULT)


def resolve(kernel: str | None, progress: Progress) -> Path:
    """What ``--kernel`` means: a name of ``SUITES``, a vmlinuz, or None for the default."""
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
    kernels = cache_folder() / "kernels"
    if (found := find_vmlinuz(kernels / name)) is not None:
        return found
    if platform.machine() != "x86_64":
        raise VmError(f"Debian's kernels are fetched for x86_64 only, not {platform.machine()}: name one of your own")
    kernels.mkdir(parents=True, exist_ok=True)
    with _locked(kernels / ".lock", progress):
        if (found := find_vmlinuz(kernels / name)) is not None:
            return found
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=kernels) as work:
            _fetch(name, Path(work), kernels / name, progress)
    found = find_vmlinuz(kernels / name)
    if found is None:
        raise VmError(f"the packages of kernel {name} hold no vmlinuz")
    return found


def find_vmlinuz(folder: Path) -> Path | None:
    """The kernel image in an unpacked package: under boot/, or (from 7.2) beside its modules."""
    for pattern in ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"):
        for found in sorted(folder.glob(pattern)):
            return found
    return None


def _codename(root: Path = Path("/")) -> str | None:
    release = root / "etc/os-release"
    if not release.is_file():
        return None
    match = re.search(r"^VERSION_CODENAME=\"?(\w+)", release.read_text(), re.MULTILINE)
    return match[1] if match else None


@contextmanager
def _locked(file: Path, progress: Progress) -> Iterator[None]:
    """One fetch at a time in a cache; the lock goes with the process that holds it."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another inetprobe that is fetching a kernel")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(name: str, work: Path, target: Path, progress: Progress) -> None:
    """Download and unpack in ``work``, then put the finished folder into place in one step."""
    for tool in ("apt-get", "dpkg", "depmod"):
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise VmError(f"fetching Debian's kernel needs {tool}: give --kernel the path of a vmlinuz instead")
    mirror = aptsources.debian_mirror(aptsources.read(), _codename())
    if mirror is None:
        raise VmError("no mirror of Debian in this system's apt sources: give --kernel the path of a vmlinuz instead")
    progress(f"fetching Debian's kernel {name} ({SUITES[name]}) into {target}")
    apt = _verified(mirror, SUITES[name], work, progress)
    packages = apt.kernel_packages()
    progress(f"downloading {', '.join(packages)}")
    unpacked = work / "unpacked"
    _unpack(apt.download(packages), unpacked)
    target_leftover = work / "replaced"
    if target.exists():
        target.rename(target_leftover)
    unpacked.rename(target)


def _unpack(archives: Sequence[Path], folder: Path) -> None:
    """Unpack, and index the modules as virtme-ng and modprobe expect them."""
    folder.mkdir()
    for archive in archives:
        _run(["dpkg", "-x", str(archive), str(folder)])
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    for modules in (folder / "lib/modules").iterdir():
        _run(["depmod", "-b", str(folder), modules.name])


def _verified(mirror: Source, suite: str, work: Path, progress: Progress) -> Apt:
    """An up-to-date private apt for ``suite``; a keyring too old for it is replaced through this system's own suite."""
    apt = Apt(mirror, suite, mirror.signed_by or ARCHIVE_KEYRING, work / "apt")
    try:
        apt.update()
    except UnknownKeyError:
        progress(f"this system's keyring does not know the key of {suite}: fetching the newest keyring, signed by it")
        own = Apt(mirror, _codename() or suite, mirror.signed_by or ARCHIVE_KEYRING, work / "apt-own")
        own.update()
        _run(["dpkg", "-x", str(own.download(["debian-archive-keyring"])[0]), str(work / "keyring")])
        apt = Apt(mirror, suite, str(work / "keyring" / ARCHIVE_KEYRING.lstrip("/")), work / "apt-new-key")
        apt.update()
    return apt


class UnknownKeyError(VmError):
    """A suite is signed with a key that the keyring does not have."""


class Apt:
    """apt with a configuration of its own: one suite of one mirror, nothing installed, the system left as it is."""

    def __init__(self, mirror: Source, suite: str, signed_by: str, folder: Path) -> None:
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "suite.sources").write_text(sources_text(mirror.uri, suite, signed_by))
        self._folder = folder
        self._options = [f"-o{key}={value}" for key, value in self._settings().items()]

    def _settings(self) -> dict[str, str]:
        folder = self._folder
        settings = {
            "Dir::State::Lists": f"{folder}/lists",
            "Dir::State::status": f"{folder}/status",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Etc::SourceList": f"{folder}/suite.sources",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "60",
        }
        if os.geteuid() == 0:
            settings["APT::Sandbox::User"] = "root"  # apt's own user cannot write into root's cache folder
        return settings

    def update(self) -> None:
        """Fetch and verify the suite's list of packages."""
        _run(["apt-get", *self._options, "--error-on=any", "update"])

    def kernel_packages(self) -> list[str]:
        """The packages that together are the suite's kernel."""
        wanted, found = [META_PACKAGE], []
        while wanted:
            package = wanted.pop()
            shown = _run(["apt-cache", *self._options, "--no-all-versions", "show", package])
            for part in kernel_parts(shown):
                if part not in found:
                    found.append(part)
                    wanted.append(part)
        if not found:
            raise VmError(f"{META_PACKAGE} names no kernel package")
        return sorted(found)

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The packages' archives, verified by apt."""
        debs = self._folder / "debs"
        _run(["apt-get", *self._options, "-q", "download", *packages], cwd=debs)
        return sorted(debs.glob("*.deb"))


def sources_text(uri: str, suite: str, signed_by: str) -> str:
    """A deb822 stanza that reads the package list of one suite and nothing else."""
    fields = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": "main", "Targets": "Packages"}
    return "".join(f"{key}: {value}\n" for key, value in (fields | {"Signed-By": signed_by}).items())


def kernel_parts(shown: str) -> list[str]:
    """The kernel's own packages among the dependencies that ``apt-cache show`` printed."""
    depends = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
    names = re.findall(r"(?:^|[,|])\s*([^\s,|]+)", depends[1] if depends else "")
    return [name for name in names if KERNEL_PART.fullmatch(name)]


def _run(command: list[str], cwd: Path | None = None) -> str:
    """Run to its end; its stdout. Raises VmError with the tool's own last words."""
    environment = os.environ | {"LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()[-5:]
        kind = UnknownKeyError if "NO_PUBKEY" in done.stderr else VmError
        raise kind(f"{Path(command[0]).name} failed while fetching a kernel: {' '.join(words) or done.returncode}")
    return done.stdout
