"""What the two text sinks share: times, durations and requests as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from inetprobe.names import FAMILIES, PROTOCOLS, TYPES
from inetprobe.trace import CallTrace


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


def request(trace: CallTrace) -> str:
    """The call as C has it: ``socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)``; for a bare sock, how it came to be."""
    family = name(FAMILIES, trace.family)
    if trace.bare:
        made = "sk_alloc" if trace.calls[0].function == "sk_alloc" else "accepted"
        return f"{made}({family}){' in softirq' if trace.softirq else ''}"
    return f"socket({family}, {name(TYPES, trace.type)}, {name(PROTOCOLS, trace.protocol)})"


def name(table: Mapping[int, str], number: int | None) -> str:
    """The C headers' name, or the number; ``-`` for none."""
    return "-" if number is None else table.get(number, str(number))
