"""Landlock: a process closes files and the network to itself for good (security/landlock, Linux 5.13)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.host import syscall

# include/uapi/linux/landlock.h
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _READ_FILE | _READ_DIR
# The rights over files, over TCP ports, and what may be reached outside (abstract UNIX sockets, signals), by the first
# version of the interface that has them.
_FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}
#: From this version on TCP ports can be closed.
WITH_PORTS = 4
_PORTS = {WITH_PORTS: 0b11}
_SCOPES = {6: 0b11}
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("ports", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Version(NamedTuple):
    """The interface that the kernel has: 0 for none, and then ``why``."""

    number: int
    why: str = ""


def version() -> Version:
    """The kernel's."""
    number, error = syscall.call("landlock_create_ruleset", None, ctypes.c_size_t(0), _VERSION)
    return Version(number) if number > 0 else Version(0, os.strerror(error))


def restrict(read: Iterable[Path], write: Iterable[Path], *, signals: bool, abstract_sockets: bool) -> None:
    """Of files, the calling thread and those it starts may from now on open only these, and what is below these
    folders: to read, or also to write. They bind and connect no TCP port. A kernel without Landlock restricts nothing.

    ``signals``, ``abstract_sockets``: may processes outside be signalled, and such UNIX sockets of theirs be reached?
    Files that are open stay open. The caller has no_new_privs. Raises InetprobeError if the kernel refuses.
    """
    ours = version().number
    if not ours:
        return
    files = _of(_FILES, ours)
    scopes = _of(_SCOPES, ours) & ~(_ABSTRACT_SOCKETS * abstract_sockets) & ~(_SIGNALS * signals)
    handled = _Ruleset(files, _of(_PORTS, ours), scopes)
    size = ctypes.c_size_t(ctypes.sizeof(handled))  # an older kernel knows less of it, and demands 0 in the rest
    ruleset = _checked("landlock_create_ruleset", ctypes.byref(handled), size, 0)
    try:
        for paths, rights in (
            (read, _READ_FILE | _READ_DIR),
            (write, _WRITE_FILE | _READ_FILE | _READ_DIR | _TRUNCATE),
        ):
            for path in paths:
                _allow(ruleset, path, rights & files)
        _checked("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Allows ``rights`` below a folder, or over a file; nothing for a path that is not there. Raises InetprobeError."""
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InetprobeError(f"{path} cannot be kept open to read: {error.strerror}") from None
    try:
        if not path.is_dir():
            rights &= ~_READ_DIR
        _checked("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(rights, parent)), 0)
    finally:
        os.close(parent)


def _of(rights: dict[int, int], ours: int) -> int:
    """The rights that the kernel's version of the interface has."""
    return sum(bits for since, bits in rights.items() if since <= ours)


def _checked(name: str, *arguments: object) -> int:
    result, error = syscall.call(name, *arguments)
    if error:
        raise InetprobeError(f"the kernel does not let files be closed ({name}: {os.strerror(error)})")
    return result
