"""Times as machines read them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(ns: int) -> str:
    """UTC with nine digits, of nanoseconds since the epoch."""
    return f"{second(ns // 10**9)}.{ns % 10**9:09}Z"


@lru_cache(maxsize=1024)
def second(seconds: int) -> str:
    """UTC to the second, without a zone, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
