"""Durations as people write and read them."""

from __future__ import annotations

import re
from decimal import Decimal

from inetprobe.errors import UsageError

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(rf"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*({'|'.join(_UNITS)})?", re.ASCII)
_LONGEST_NS = 2**63 - 1


def parse_duration(text: str) -> int:
    """Nanoseconds in ``5ms``, ``10us``, ``1.5s``, ``250ns``, ``2m`` or ``1h``; a bare number is seconds, as for sleep(1).

    A fraction of a nanosecond is rounded up, so that what is asked for is never undercut. Raises UsageError.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration: give a number with a unit such as 250ns, 10us, 5ms or 1s")
    number, unit = match.groups()
    nanoseconds = -int(-Decimal(number) * _UNITS[unit or "s"] // 1)
    if nanoseconds > _LONGEST_NS:
        raise UsageError(f"the duration {text!r} is longer than 292 years")
    return nanoseconds


def duration_text(nanoseconds: int) -> str:
    """The shortest text that ``parse_duration`` reads back as the same number: ``5ms``, ``1500us``."""
    for unit in ("s", "ms", "us"):
        if nanoseconds and nanoseconds % _UNITS[unit] == 0:
            return f"{nanoseconds // _UNITS[unit]}{unit}"
    return f"{nanoseconds}ns"


def human(nanoseconds: int) -> str:
    """Three significant digits for reading: ``851 ns``, ``13.1 µs``, ``676 ms``, ``19.0 s``, ``120 s``."""
    if nanoseconds < 1000:
        return f"{nanoseconds} ns"
    value = float(nanoseconds)
    for unit in ("µs", "ms", "s"):
        value /= 1000
        # 999.5 would round to four digits: it belongs to the next unit.
        if value < 999.5 or unit == "s":
            break
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {unit}"
