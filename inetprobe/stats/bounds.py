"""The upper bounds of the duration histograms: those the kernel counts by are those the page shows."""

from __future__ import annotations

from inetprobe.base.errors import UsageError
from inetprobe.record.filter import parse_duration

#: Nanoseconds. A socket from a slab takes a microsecond or less, one that waits for modprobe seconds.
DEFAULT_BOUNDS_NS = (
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
)
#: The kernel's tables have room for so many, and one more for what is beyond the last.
MAX_BOUNDS = 14


def parse_bounds(words: str) -> tuple[int, ...]:
    """Nanoseconds of ``1us,5us,10ms``, as ``--buckets`` takes them. Raises UsageError: one sentence."""
    given = words.split(",")
    if len(given) > MAX_BOUNDS:
        raise UsageError(f"--buckets has {len(given)} bounds: give at most {MAX_BOUNDS}, +Inf comes by itself")
    bounds: list[int] = []
    for word in given:
        try:
            bound = parse_duration(word)
        except UsageError as error:
            raise UsageError(f"--buckets: {error}") from None
        if bound < 1:
            raise UsageError(f"--buckets: {word.strip()!r} is less than a nanosecond: give bounds of 1ns or more")
        if bounds and bound <= bounds[-1]:
            raise UsageError(f"--buckets: {word.strip()!r} does not exceed the bound before it: give them ascending")
        bounds.append(bound)
    return tuple(bounds)
