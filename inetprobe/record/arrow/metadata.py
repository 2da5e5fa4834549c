"""JSON from a recording's metadata as the types it must have: each function gives the value, or raises ValueError."""

from __future__ import annotations

import json
import re
from typing import Any

from inetprobe.base.text import encodable

# Parsed, JSON takes some 60 times its size; a recording's is a few hundred bytes.
_MOST_BYTES = 1 << 20
# Function names, reasons of losses, probes such as inet_create:entry: none of them needs escaping for a terminal.
_WORD = re.compile(r"[A-Za-z0-9_.:$-]{1,512}")


def load(raw: bytes) -> Any:
    """The value of a JSON text."""
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"its metadata has {len(raw):,} bytes")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("its metadata is nested too deeply") from None


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"its {what} is no JSON object")
    return value


def string(value: Any, what: str) -> str:
    """A string of any text that can be written."""
    if not isinstance(value, str) or not encodable(value):
        raise ValueError(f"its {what} is no text")
    return value


def word(value: Any, what: str) -> str:
    """A string that is plain enough to be shown as it is."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"its {what} is no name")
    return value


def truth(value: Any, what: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"its {what} is neither true nor false")
    return value


def integer(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from ``low`` up to, not including, ``high``."""
    if type(value) is not int or not low <= value < high:
        raise ValueError(f"its {what} is no number from {low} to {high - 1}")
    return value


def count(value: Any, what: str) -> int:
    """A number of things. Below 0 where numbers that do not add up were subtracted in a copy of a recording."""
    return integer(value, what, -(1 << 63), 1 << 64)


def counts(value: Any, what: str) -> dict[str, int]:
    """Numbers of things by name."""
    return {word(name, what): count(number, what) for name, number in mapping(value, what).items()}
