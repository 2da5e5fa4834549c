"""Named kprobes in tracefs (kernel/trace/trace_kprobe.c): the kernel's count of hits and misses, and leftovers."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.errors import HostError

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

#: The prefix by which our kprobes are found among those of other tools; the suffix is the process id.
EVENT_PREFIX = "inetprobe_"
_OURS = re.compile(rf"[pr]\d*:kprobes/({EVENT_PREFIX}\w+_(\d+)) ")
# MAX_EVENT_NAME_LEN of kernel/trace/trace.h is 64 with the NUL; a process id has at most 7 digits.
_STEM = 55


@dataclass(frozen=True, slots=True)
class ProbeCount:
    """How often a probe was reached (``hits``; None for fentry, which the kernel does not count), how often the kernel
    had no room to serve it (``misses``), and on how many hits its program was not run (``skipped``)."""

    hits: int | None
    misses: int
    skipped: int


def tracefs(candidates: tuple[Path, ...] = TRACEFS) -> Path | None:
    """The mount point of tracefs, or None. Raises HostError where this process may not enter it."""
    for folder in candidates:
        try:
            (folder / "kprobe_events").stat()
            return folder
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            raise HostError(f"{folder} is closed to this user", "run it again with sudo") from None
    return None


def writable(candidates: tuple[Path, ...] = TRACEFS) -> Path | None:
    """tracefs, or None where it is not there or no kprobe can be made in it. Raises HostError as ``tracefs`` does."""
    folder = tracefs(candidates)
    return folder if folder is not None and os.access(folder / "kprobe_events", os.W_OK) else None


def profile(folder: Path) -> dict[str, tuple[int, int]]:
    """(hits, misses) of every named kprobe on the machine, by event name. Raises OSError."""
    counts = {}
    for line in (folder / "kprobe_profile").read_text().splitlines():
        name, hits, misses = line.split()
        counts[name] = int(hits), int(misses)
    return counts


def add_kprobe(folder: Path, function: str, number: int, maxactive: int | None) -> str:
    """Makes the event of a kprobe, or with ``maxactive`` of a kretprobe for as many calls at once; its name.

    ``number`` is the function's, which keeps long names apart. An event's name has no dot, as a function's may that the
    compiler renamed. Raises OSError.
    """
    side, type_ = ("entry", "p") if maxactive is None else ("return", f"r{maxactive}")
    stem = f"{EVENT_PREFIX}{side}_{function.partition('.')[0]}"
    if len(stem) > _STEM:
        stem = f"{stem[: _STEM - 3]}_{number}"
    event = f"{stem}_{os.getpid()}"
    _append(folder / "kprobe_events", f"{type_}:kprobes/{event} {function}\n".encode())
    return event


def remove_kprobe(folder: Path, event: str) -> None:
    """Removes an event whose users have closed it. Raises OSError."""
    _append(folder / "kprobe_events", f"-:kprobes/{event}\n".encode())


def event_id(folder: Path, event: str) -> int:
    """The number by which perf_event_open(2) knows a kprobe's event. Raises OSError."""
    return int((folder / "events/kprobes" / event / "id").read_text())


def _append(path: Path, line: bytes) -> None:
    """Appends without Python's own append mode, which seeks to the end: tracefs refuses that."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def remove_leftovers(folder: Path, proc: Path = Path("/proc")) -> int:
    """Removes the probes of inetprobe processes that were killed; how many were removed.

    The probes of a living process stay; the kernel refuses to remove one in use in another pid namespace.
    """
    events = folder / "kprobe_events"
    removed = 0
    for name, pid in _OURS.findall(events.read_text()):
        if (proc / pid).exists():
            continue
        try:
            remove_kprobe(folder, name)
            removed += 1
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT):  # in use, or removed by another inetprobe just now
                raise
    return removed
