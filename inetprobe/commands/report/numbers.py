"""Numbers as the page writes them: those of ``base.words``, with a no-break space before the unit."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inetprobe.base import words

_DURATION = re.compile(r"\b([0-9.]+)(ns|µs|ms|s)\b")
#: No-break space: keeps a number and its unit on one line.
NBSP = "\u00a0"


def apart(text: str) -> str:
    """Durations in ``text`` with a no-break space: ``6.3µs → 9.01µs`` as ``6.3 µs → 9.01 µs``."""
    return _DURATION.sub(rf"\1{NBSP}\2", text)


def sentence(text: str) -> str:
    """A reason as a sentence: with a full stop and, unless it begins with a name, a capital."""
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
    """Nanoseconds as ``676 ms`` or ``2 min 5 s``; ``?`` for None, where the end was not seen."""
    if ns is None or ns < 60 * 10**9:
        return apart(words.duration(ns))
    minutes, seconds = divmod(round(ns / 10**9), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number:,}{NBSP}{unit}" for number, unit in parts[first : first + 2] if number)


def share(part: int, whole: int) -> str:
    """``1.4 %``; a small share is never shown as 0 %, nor a large one as 100 %."""
    if not whole:
        return f"0{NBSP}%"
    if 0 < part < whole and not 0.0005 <= part / whole <= 0.9995:
        return f"{'<' if part / whole < 0.5 else '>'}{NBSP}{'0.1' if part / whole < 0.5 else '99.9'}{NBSP}%"
    return f"{part / whole * 100:.3g}{NBSP}%"
