"""What the two text sinks share: times, durations and requests as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from inetprobe.base.uapi import errno_name


def duration(ns: int | None) -> str:
    """Three digits and a unit; ``?`` where the end was not seen."""
    if ns is None:
        return "?"
    for limit, scale, unit in ((10**3, 1, "ns"), (10**6, 10**3, "µs"), (10**9, 10**6, "ms")):
        if ns < limit:
            return f"{ns / scale:.3g}{unit}" if ns / scale < 999.5 else f"{ns / scale:.0f}{unit}"
    return f"{ns / 10**9:.2f}s"


def clock(ns: int) -> str:
    """UTC time of day to the microsecond of nanoseconds since the epoch."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%H:%M:%S") + f".{ns % 10**9 // 1000:06}"


def name(table: Mapping[int, str], number: int | None) -> str:
    """The C headers' name, or the number; ``-`` for none."""
    return "-" if number is None else table.get(number, str(number))


def result(value: int | None, pointer: str | None, *, returned: bool = True) -> str:
    """A call's result: ``-EPERM``, ``0``, ``valid`` or ``NULL`` of a pointer; empty of a function without a result."""
    if pointer is not None:
        return pointer
    if not returned:
        return "return not seen"
    if value is None:
        return ""
    return f"-{errno_name(-value)}" if value < 0 else str(value)


def rfc3339(ns: int) -> str:
    """UTC with nine digits, of nanoseconds since the epoch."""
    return f"{second(ns // 10**9)}.{ns % 10**9:09}Z"


@lru_cache(maxsize=1024)
def second(seconds: int) -> str:
    """UTC to the second, without a zone, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def tree_branches(depths: Sequence[int], index: int) -> str:
    """The box drawing before entry ``index`` of a tree told by depths: at each one, does a later entry hang there?"""
    depth = depths[index]
    parts = []
    for level in range(1, depth + 1):
        later = next((other for other in depths[index + 1 :] if other <= level), 0)
        more = later == level
        parts.append(("├─ " if more else "└─ ") if level == depth else "│  " if more else "   ")
    return "".join(parts)


def counted(number: int, what: str) -> str:
    """``1 socket``, ``1,234 sockets``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def by_reason(counts: Mapping[str, int]) -> str:
    """``ring_full 12, no_state 3``: the most first."""
    return ", ".join(
        f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
