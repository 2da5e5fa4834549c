"""Numbers as people read them."""

from __future__ import annotations

import re

from inetprobe.sinks import show

_APART = re.compile(r"(?<=[0-9])(?=[a-zµ])")
#: Between a number and its unit, so that no line ends there.
NBSP = "\u00a0"


def took(ns: int | None) -> str:
    """``676 ms``, ``2 min 5 s``; ``?`` where the end was not seen."""
    if ns is None or ns < 60 * 10**9:
        return _APART.sub(NBSP, show.duration(ns))
    minutes, seconds = divmod(round(ns / 10**9), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next(place for place, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number:,}{NBSP}{unit}" for number, unit in parts[first : first + 2] if number)


def share(part: int, whole: int) -> str:
    """``1.4 %``; what is little is never 0, nor what is nearly all 100."""
    if not whole:
        return f"0{NBSP}%"
    if 0 < part < whole and not 0.0005 <= part / whole <= 0.9995:
        return f"{'<' if part / whole < 0.5 else '>'}{NBSP}{'0.1' if part / whole < 0.5 else '99.9'}{NBSP}%"
    return f"{part / whole * 100:.3g}{NBSP}%"
