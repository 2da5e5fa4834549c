"""Where inetprobe keeps what can be had again: packages for the VM, what was found of KVM, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$INETPROBE_CACHE``, else ``inetprobe`` in the user's cache folder (XDG)."""
    if own := os.environ.get("INETPROBE_CACHE"):
        return Path(own).absolute()
    if (xdg := os.environ.get("XDG_CACHE_HOME")) and Path(xdg).is_absolute():
        return Path(xdg) / "inetprobe"
    return Path.home() / ".cache" / "inetprobe"
