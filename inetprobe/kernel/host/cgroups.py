"""cgroup v2 ids → paths.

The id that bpf_get_current_cgroup_id() gives is the inode number of the cgroup's directory (kernfs, on 64-bit).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from inetprobe.base.text import file_name

_ROOT_ID = 1  # the root of every cgroup2 hierarchy, mounted or not
_RESCAN_S = 1.0
_MOST = 10_000


class Cgroups:
    """Paths of cgroups by id, read from the mounted hierarchy and remembered, since cgroups are removed.

    Remembered are those that were asked for, the last 10,000, and all that there were at the last look.
    """

    def __init__(self, root: Path | None) -> None:
        """``root`` is the cgroup2 mount, or None where there is none: then only the root cgroup has a path."""
        self.root = root
        self._asked: dict[int, str | None] = {}  # the least recently asked for first
        self._found: dict[int, str] = {_ROOT_ID: "/"}
        self._scanned = float("-inf")

    @classmethod
    def of_host(cls, mounts: Path = Path("/proc/self/mounts")) -> Cgroups:
        """The hierarchy that this machine has mounted, wherever that is."""
        # Bytes: users mount too (FUSE), at names of any characters, of which the kernel escapes only blanks.
        for line in mounts.read_bytes().split(b"\n")[:-1]:
            _, mount_point, type_, *_ = line.split(b" ")
            if type_ == b"cgroup2":
                return cls(Path(os.fsdecode(mount_point)))
        return cls(None)

    def path(self, identity: int) -> str | None:
        """The path below the mount, ``/`` for the root; None if the cgroup was removed before the first scan."""
        if identity in self._asked:
            path = self._asked.pop(identity)
        else:
            if identity not in self._found and time.monotonic() - self._scanned >= _RESCAN_S:
                self._found = {_ROOT_ID: "/", **dict(self._scan())}
            path = self._found.get(identity)
        self._asked[identity] = path
        if len(self._asked) > _MOST:
            del self._asked[next(iter(self._asked))]
        return path

    def folder(self, path: str) -> Path | None:
        """The folder of the cgroup at ``path`` below the mount; None if there is none."""
        folder = None if self.root is None else self.root / path.strip("/")
        try:
            return folder if folder is not None and folder.is_dir() else None
        except OSError:  # no folder has so long a name
            return None

    def _scan(self) -> Iterator[tuple[int, str]]:
        """The cgroups that there are: id and path."""
        self._scanned = time.monotonic()
        if self.root is None:
            return
        for folder, _, _ in os.walk(self.root):
            relative = os.path.relpath(folder, self.root)
            try:
                identity = Path(folder).stat().st_ino
            except FileNotFoundError:  # removed during the walk
                continue
            # The mount's root is another cgroup than the machine's in a cgroup namespace.
            yield identity, "/" if relative == "." else "/" + file_name(relative)
