"""Numbers as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inetprobe.base import words

_DURATION = re.compile(r"\b([0-9.]+)(ns|µs|ms|s)\b")
#: Between a number and its unit, so that no line ends there.
NBSP = "\u00a0"


def apart(text: str) -> str:
    """``6.3µs → 9.01µs`` as ``6.3 µs → 9.01 µs``."""
    return _DURATION.sub(rf"\1{NBSP}\2", text)


def sentence(text: str) -> str:
    """A reason as a sentence: begun with a capital, unless with a name, and ended."""
    first = text.partition(" ")[0]
    return f"{text[:1].upper() if first.isalpha() and first.islower() else text[:1]}{text[1:]}."


def mechanisms(of_functions: Mapping[str, str]) -> str:
    """How functions were attached in short: ``fentry; kprobe: c`` of a and b by fentry, c by kprobe."""
    functions: dict[str, list[str]] = {}
    for function, mechanism in of_functions.items():
        functions.setdefault(mechanism, []).append(function)
    usual, *others = sorted(functions, key=lambda mechanism: -len(functions[mechanism])) or [""]
    return "; ".join([usual, *(f"{mechanism}: {', '.join(functions[mechanism])}" for mechanism in others)])


def took(ns: int | None) -> str:
    """``676 ms``, ``2 min 5 s``; ``?`` where the end was not seen."""
    if ns is None or ns < 60 * 10**9:
        return apart(words.duration(ns))
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
