"""The descriptors of a forked process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def close_others(kept: int) -> None:
    """Closes all descriptors but the standard streams and ``kept``: those of the process that has forked."""
    for fd in (int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        if fd > 2 and fd != kept:
            with contextlib.suppress(OSError):  # the folder's own
                os.close(fd)
