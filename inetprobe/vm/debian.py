"""Debian's packages, fetched into a cache and unpacked there, never installed.

They come from the mirror that this system already uses, with apt's own verification of their signatures, but with a
private apt configuration: lists, cache and status are in folders of ours.
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
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base import cache
from inetprobe.base.errors import VmError
from inetprobe.base.trust import distrust
from inetprobe.vm import apt_sources
from inetprobe.vm.apt_sources import ARCHIVE_KEYRING, AptSource

Progress = Callable[[str], None]


def codename(root: Path = Path("/")) -> str | None:
    """This system's suite of Debian (or of another distribution), from its os-release."""
    release = root / "etc/os-release"
    if not release.is_file():
        return None
    match = re.search(r"^VERSION_CODENAME=\"?(\w+)", release.read_text(), re.MULTILINE)
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class PackageSet:
    """Packages to unpack. ``title`` is for messages; ``find`` returns the wanted file in the unpacked folder, or None;
    ``finish`` runs before the folder is put in place."""

    title: str
    suite: str
    names: Callable[[Apt], Sequence[str]]
    find: Callable[[Path], Path | None]
    finish: Callable[[Path], None] = lambda folder: None


def ensure(packages: PackageSet, target: Path, progress: Progress) -> Path:
    """The wanted file under ``target``, fetched first if it is missing; ``target`` is put in place in one step.

    Blocks while it downloads or while another process does. Raises VmError, with the last lines of apt, when it cannot
    be fetched.
    """
    if (file := _found(packages, target)) is not None:
        return file
    if platform.machine() != "x86_64":
        raise VmError(f"{packages.title} is fetched for x86_64 only, not {platform.machine()}: use an x86_64 machine")
    with _locked(target.parent, progress):
        if _found(packages, target) is None:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
                _fetch(packages, Path(work), target, progress)
    file = _found(packages, target)
    if file is None:
        raise VmError(f"the packages of {packages.title} do not contain it: delete the cache and try again")
    return file


def _found(packages: PackageSet, target: Path) -> Path | None:
    """The wanted file, if it is there. Raises VmError where another user can have put it there."""
    file = packages.find(target)
    if (why := distrust(file or target)) is not None:
        raise _not_used(target, why)
    return file


def _not_used(folder: Path, why: str) -> VmError:
    return VmError(f"the cache {folder} is not used ({why}): set INETPROBE_CACHE to a folder that is yours alone")


def _fetch(packages: PackageSet, work: Path, target: Path, progress: Progress) -> None:
    """Downloads and unpacks in ``work``, then puts the finished folder in place."""
    mirror = apt_sources.debian_mirror(apt_sources.read(), codename())
    if mirror is None:
        raise VmError(
            f"this system's apt sources have no mirror of Debian to fetch {packages.title} from: "
            "add one to /etc/apt/sources.list.d"
        )
    progress(f"fetching {packages.title} ({packages.suite}) into {target}")
    apt = _verified(mirror, packages.suite, work, progress)
    names = packages.names(apt)
    progress(f"downloading {', '.join(names)}")
    unpacked = work / "unpacked"
    unpacked.mkdir(mode=0o755)
    for archive in apt.download(names):
        run(["dpkg", "-x", str(archive), str(unpacked)])
    packages.finish(unpacked)
    if target.exists():
        target.rename(work / "replaced")
    unpacked.rename(target)


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """One fetch at a time per ``folder``, which is created; the lock ends with the process that holds it."""
    try:
        if (why := cache.create(folder)) is not None:
            raise _not_used(folder, why)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_used(folder, error.strerror or str(error)) from None
    with os.fdopen(descriptor, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another inetprobe that is fetching packages")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _verified(mirror: AptSource, suite: str, work: Path, progress: Progress) -> Apt:
    """An up-to-date private apt for ``suite``; a keyring too old for it is replaced through this system's own suite."""
    apt = Apt(mirror, suite, mirror.signed_by or ARCHIVE_KEYRING, work / "apt")
    try:
        apt.update()
    except UnknownKeyError:
        progress(f"this system's keyring does not know the key of {suite}: fetching the newest keyring, signed by it")
        own = Apt(mirror, codename() or suite, mirror.signed_by or ARCHIVE_KEYRING, work / "apt-own")
        own.update()
        run(["dpkg", "-x", str(own.download(["debian-archive-keyring"])[0]), str(work / "keyring")])
        apt = Apt(mirror, suite, str(work / "keyring" / ARCHIVE_KEYRING.lstrip("/")), work / "apt-new-key")
        apt.update()
    return apt


class UnknownKeyError(VmError):
    """A suite is signed with a key that the keyring lacks."""


class Apt:
    """apt with a private configuration: one suite of one mirror, no installed packages; the system is not changed."""

    def __init__(self, mirror: AptSource, suite: str, signed_by: str, folder: Path) -> None:
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "suite.sources").write_text(sources_text(mirror.uri, suite, signed_by))
        self._folder = folder
        self.options = [f"-o{key}={value}" for key, value in self._settings().items()]

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
        """Fetches and verifies the suite's list of packages."""
        run(["apt-get", *self.options, "--error-on=any", "update"])

    def show(self, package: str) -> str:
        """The output of ``apt-cache show`` for the package's newest version."""
        return run(["apt-cache", *self.options, "--no-all-versions", "show", package])

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The packages' archives, verified by apt."""
        debs = self._folder / "debs"
        run(["apt-get", *self.options, "-q", "download", *packages], cwd=debs)
        return sorted(debs.glob("*.deb"))


def sources_text(uri: str, suite: str, signed_by: str) -> str:
    """A deb822 stanza for the package list of one suite only."""
    fields = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": "main", "Targets": "Packages"}
    return "".join(f"{key}: {value}\n" for key, value in (fields | {"Signed-By": signed_by}).items())


def run(command: list[str], cwd: Path | None = None) -> str:
    """Runs a tool to its end; its stdout. Raises VmError with the tool's last lines."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if shutil.which(command[0], path=path) is None:
        raise VmError(
            f"Debian's packages are fetched with {command[0]}, which is missing: use Debian, or give --kernel a file"
        )
    environment = os.environ | {"LC_ALL": "C", "PATH": path}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-5:]
        error = UnknownKeyError if "NO_PUBKEY" in done.stderr else VmError
        raise error(
            f"{Path(command[0]).name} failed while fetching packages: {' '.join(lines) or done.returncode}: try again"
        )
    return done.stdout
