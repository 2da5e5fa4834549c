"""The folder of what can be made again: packages for the VM, what was learnt about KVM, compiled programs.

sudo may leave $HOME as it is, and anybody can set INETPROBE_CACHE: all that reads or writes there asks ``distrust``
first.
"""

from __future__ import annotations

import os
from pathlib import Path

from inetprobe.base.errors import InetprobeError
from inetprobe.base.trust import distrust


def cache_folder() -> Path:
    """``$INETPROBE_CACHE``, else ``inetprobe`` in the user's XDG cache folder, with no link in its path. It need not
    exist. Raises InetprobeError where the user has no home folder."""
    if chosen := os.environ.get("INETPROBE_CACHE"):
        folder = Path(chosen)
    elif (xdg := os.environ.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
        folder = Path(xdg) / "inetprobe"
    else:
        try:
            folder = Path.home() / ".cache" / "inetprobe"
        except RuntimeError:
            raise InetprobeError("there is no home folder for the cache: set INETPROBE_CACHE to a folder") from None
    return Path(os.path.realpath(folder))


def create(folder: Path) -> str | None:
    """Creates ``folder`` and those above it, each for this user alone; does nothing, and says why, where another user
    can change what is in it. Raises OSError."""
    why = distrust(folder)
    if why is not None:
        return why
    for part in (*reversed(folder.parents), folder):
        if not part.is_dir():
            part.mkdir(mode=0o700, exist_ok=True)
    return distrust(folder)  # another user may have been faster in /tmp
