"""The kernel's own count of each kprobe's hits and misses, from tracefs (kernel/trace/trace_kprobe.c)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))


@dataclass(frozen=True, slots=True)
class ProbeCount:
    """Times a probe was reached and its program could run (``hits``), and times it could not (``misses``)."""

    hits: int
    misses: int


def tracefs(candidates: tuple[Path, ...] = TRACEFS) -> Path | None:
    """Where tracefs is mounted, or None."""
    return next((folder for folder in candidates if (folder / "kprobe_events").exists()), None)


def profile(folder: Path) -> dict[str, ProbeCount]:
    """Counts of every named kprobe on the machine by event name; empty where kprobe_profile cannot be read."""
    counts = {}
    for line in (folder / "kprobe_profile").read_text().splitlines():
        name, hits, misses = line.split()
        counts[name] = ProbeCount(int(hits), int(misses))
    return counts
