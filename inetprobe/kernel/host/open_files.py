"""Which descriptors a live process holds, by kind, from the links below /proc/PID/fd."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

from inetprobe.base.words import by_reason, counted
from inetprobe.kernel.host import pidns

_MOST_KINDS = 5
#: A process may hold 2^30; reading this many links takes a quarter of a second.
_MOST_READ = 1 << 16


def held_by(pid: int, proc: Path = Path("/proc")) -> str:
    """What the process ``pid`` (of the initial pid namespace) holds now, as a clause: the largest five kinds.

    Where that cannot be seen, the clause says why.
    """
    if not pidns.is_initial():
        return f"the descriptors of process {pid} cannot be seen from another pid namespace"
    folder = proc / str(pid) / "fd"
    try:
        with os.scandir(folder) as entries:
            kinds = Counter(_kind(entry.path) for entry in islice(entries, _MOST_READ + 1))
    except (FileNotFoundError, ProcessLookupError):
        return f"process {pid} ended before its descriptors could be counted"
    except PermissionError:
        return f"the descriptors of process {pid} may not be read without CAP_SYS_PTRACE"
    total = kinds.total()
    number = f"more than {_MOST_READ:,} descriptors" if total > _MOST_READ else counted(total, "descriptor")
    largest = dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))[:_MOST_KINDS])
    others = total - sum(largest.values())
    kinds_text = by_reason(largest) + f", others {others:,}" * bool(others)
    return f"process {pid} now holds {number}{': ' * bool(total)}{kinds_text}"


def _kind(link: str) -> str:
    """``socket``, ``pipe``, ``eventpoll`` and such; ``device``, or ``file`` for any other path."""
    try:
        target = str(Path(link).readlink())
    except OSError:
        return "closed meanwhile"
    if not target.startswith("/"):
        name = target.removeprefix("anon_inode:")
        return name.split(":")[0].strip("[]")
    for prefix, kind in (("/dev/", "device"), ("/memfd:", "memfd")):
        if target.startswith(prefix):
            return kind
    return "file"
