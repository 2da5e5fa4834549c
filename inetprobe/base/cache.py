"""The folder of what can be made again: packages for the VM, what was learnt about KVM, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$INETPROBE_CACHE``, else ``inetprobe`` in the user's XDG cache folder. It need not exist."""
    if chosen := os.environ.get("INETPROBE_CACHE"):
        return Path(chosen).absolute()
    if (xdg := os.environ.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
        return Path(xdg) / "inetprobe"
    return Path.home() / ".cache" / "inetprobe"
