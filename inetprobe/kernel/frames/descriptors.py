"""Keeps file descriptors open across calls of libbcc, which may close descriptors that are not its own.

bcc before 0.33 leaves ProcSyms::ModulePath::fd_ of src/cc/syms.h unset for a file outside the process's mount
namespace (/tmp/perf-PID.map, for every process), and then closes any descriptor whose number happens to be there: at
times this process's ring, its epoll or its output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inetprobe.base.errors import InetprobeError

_Identity = tuple[int, int, int]


class Descriptors:
    """This process's descriptors, and a library's. For one thread, while no other thread closes any."""

    def __init__(self) -> None:
        self._theirs: set[int] = set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Descriptors that are open now are open after the block, even if the library closes them; descriptors that the
        library opened in this or an earlier block are its own. Raises InetprobeError if one cannot be restored."""
        ours = {fd: identity for fd, identity in _open().items() if fd not in self._theirs}
        copies = {fd: os.dup(fd) for fd in ours}
        try:
            yield
        finally:
            lost = [fd for fd in ours if not _restore(fd, copies[fd], ours[fd])]
            self._theirs = set(_open()).difference(ours)
            if lost:
                raise InetprobeError(f"bcc has closed the file descriptor {lost[0]} of inetprobe's: run it once more")


def _restore(fd: int, copy: int, identity: _Identity) -> bool:
    """Restores ``fd`` from its copy, unless the copy was closed instead, and closes the copy; was it possible?"""
    copied = _identity(copy) == identity
    intact = _identity(fd) == identity
    if copied:
        if not intact:
            os.dup2(copy, fd, inheritable=fd <= 2)
        os.close(copy)
    return intact or copied


def _open() -> dict[int, _Identity]:
    # The directory's own descriptor is closed when fstat() is called on it.
    descriptors = {int(path.name): _identity(int(path.name)) for path in Path("/proc/self/fd").iterdir()}
    return {fd: identity for fd, identity in descriptors.items() if identity is not None}


def _identity(fd: int) -> _Identity | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mode
