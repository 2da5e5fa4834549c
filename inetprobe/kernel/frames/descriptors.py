"""File descriptors that outlive a call of libbcc's, which may close one that is not its own.

bcc before 0.33 leaves ProcSyms::ModulePath::fd_ of src/cc/syms.h unset for a file outside the process's mount
namespace, /tmp/perf-PID.map for every process, and closes whatever descriptor the number stands for: at times this
process's ring, its poll or its output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inetprobe.base.errors import InetprobeError

_Identity = tuple[int, int, int]


class Descriptors:
    """Those of this process, and those that a library has opened. For one thread, while no other closes any."""

    def __init__(self) -> None:
        self._theirs: set[int] = set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is open now is open afterwards, whatever the library closes meanwhile; but not what the library has
        opened in here, now or at an earlier time. Raises InetprobeError where one cannot be put back."""
        ours = {fd: identity for fd, identity in _open().items() if fd not in self._theirs}
        copies = {fd: os.dup(fd) for fd in ours}
        try:
            yield
        finally:
            lost = [fd for fd in ours if not _put_back(fd, copies[fd], ours[fd])]
            self._theirs = set(_open()).difference(ours)
            if lost:
                raise InetprobeError(f"bcc has closed the file descriptor {lost[0]} of inetprobe's: run it once more")


def _put_back(fd: int, copy: int, identity: _Identity) -> bool:
    """Makes ``fd`` what it was, and lets go of the copy, which may have been closed instead. Is it what it was?"""
    copied = _identity(copy) == identity
    whole = _identity(fd) == identity
    if copied:
        if not whole:
            os.dup2(copy, fd, inheritable=fd <= 2)
        os.close(copy)
    return whole or copied


def _open() -> dict[int, _Identity]:
    # The listing's own is closed by then.
    descriptors = {int(path.name): _identity(int(path.name)) for path in Path("/proc/self/fd").iterdir()}
    return {fd: identity for fd, identity in descriptors.items() if identity is not None}


def _identity(fd: int) -> _Identity | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode
