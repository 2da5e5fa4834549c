"""Files and folders that nobody but this user and root can change: what openssh's StrictModes asks of its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def distrust(path: Path) -> str | None:
    """Why another user can change what is at ``path``, or put something else there; None where nobody can.

    Links are followed. Of a path that does not exist, the folders that do are looked at. In a folder with the sticky
    bit, such as /tmp, nobody can replace what is this user's. Raises OSError.
    """
    real = Path(os.path.realpath(path))
    for part in (real, *real.parents):
        try:
            status = part.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(status.st_mode):
            return f"the links of {part} lead in a circle"
        if not is_own(status):
            return f"{part} belongs to user {status.st_uid}"
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            return f"other users may write to {part}"
    return None


def is_own(status: os.stat_result) -> bool:
    """Does it belong to this user, or to root?"""
    return status.st_uid in (0, os.geteuid())
