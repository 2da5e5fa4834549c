"""Times, durations, counts, quotations and corrections as people read them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

_QUOTED = 60  # characters


class _Brief(reprlib.Repr):
    """Of a value of any depth and size."""

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write one of thousands of digits, and nobody reads it.
        return repr(x) if x.bit_length() <= 64 else f"a number of {x.bit_length():,} bits"

    def repr_str(self, x: str, level: int) -> str:
        return repr(shortened(x))


_BRIEF = _Brief()
_BRIEF.maxlevel = 3


def shortened(text: str, most: int = _QUOTED) -> str:
    """``text``, or its first ``most`` characters and ``…``."""
    return text if len(text) <= most else text[:most] + "…"


def quoted(value: object) -> str:
    """A wrong value as an error quotes it: as Python writes it, but of its size and depth only some 60 characters."""
    return _BRIEF.repr(value) if isinstance(value, str) else shortened(_BRIEF.repr(value))


def duration(ns: int | None) -> str:
    """Nanoseconds with three digits and a unit, ``1.5µs``; ``?`` for None, where the end was not seen."""
    if ns is None:
        return "?"
    for limit, scale, unit in ((10**3, 1, "ns"), (10**6, 10**3, "µs"), (10**9, 10**6, "ms")):
        if ns < limit:
            return f"{ns / scale:.3g}{unit}" if ns / scale < 999.5 else f"{ns / scale:.0f}{unit}"
    return f"{ns / 10**9:.2f}s"


def clock(ns: int) -> str:
    """Nanoseconds since the epoch as UTC time of day with microseconds."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%H:%M:%S") + f".{ns % 10**9 // 1000:06}"


def name(table: Mapping[int, str], number: int | None) -> str:
    """The name of ``number`` in the C headers, or the number; ``-`` for None."""
    return "-" if number is None else table.get(number, str(number))


def rfc3339(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, with nine digits."""
    return f"{second(ns // 10**9)}.{ns % 10**9:09}Z"


@lru_cache(maxsize=1024)
def second(seconds: int) -> str:
    """Seconds since the epoch as UTC date and time without a zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def tree_branches(depths: Sequence[int], index: int) -> str:
    """The box drawing before entry ``index`` of a tree in preorder, given the depth of each entry."""
    depth = depths[index]
    parts = []
    for level in range(1, depth + 1):
        later = next((other for other in depths[index + 1 :] if other <= level), 0)
        more = later == level
        parts.append(("├─ " if more else "└─ ") if level == depth else "│  " if more else "   ")
    return "".join(parts)


def counted(number: int, noun: str) -> str:
    """``1 socket``, ``1,234 sockets``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(words: Iterable[str], conjunction: str) -> str:
    """``a, b and c``."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def by_reason(counts: Mapping[str, int]) -> str:
    """``ring_full 12, no_state 3``: the largest count first."""
    return ", ".join(
        f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def did_you_mean(word: str, known: Iterable[str] | Mapping[str, str], otherwise: str, most: int = 1) -> str:
    """``did you mean udp?``, or with ``most`` above 1 ``did you mean udp or icmp?``; ``otherwise`` if nothing is close.

    A mapping is from each known word to how the user should read it.
    """
    import difflib  # only once a user has mistyped

    spellings = known if isinstance(known, Mapping) else {name: name for name in known}
    close = difflib.get_close_matches(word, spellings, n=most)
    return f"did you mean {' or '.join(spellings[name] for name in close)}?" if close else otherwise
