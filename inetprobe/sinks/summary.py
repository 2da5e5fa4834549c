"""The line every run ends with: where each socket went."""

from __future__ import annotations

from collections.abc import Mapping

from inetprobe.run import Accounting


def summary_line(accounting: Accounting) -> str:
    """One line for stderr: ``12 sockets created: 10 complete, 1 incomplete (truncated 1), 1 lost (ring_full 1)``.

    What is zero and need not be said is left out; what does not add up is said loudly.
    """
    parts = [f"{accounting.complete:,} complete"]
    parts += _by_reason("incomplete", accounting.incomplete)
    parts += _by_reason("lost", accounting.lost)
    parts += [f"{accounting.filtered:,} filtered out"] if accounting.filtered else []
    parts += [f"{accounting.in_flight:,} in flight"] if accounting.in_flight else []
    line = f"{accounting.entries:,} socket{'s' * (accounting.entries != 1)} created: " + ", ".join(parts)
    apart = [
        f"{count:,} {what}"
        for count, what in (
            (accounting.nested, "nested"),
            (accounting.foreign, "calls of interrupts left out"),
            (sum(accounting.probe_misses.values()), "probe hits missed"),
        )
        if count
    ]
    line += f" ({'; '.join(apart)})" if apart else ""
    missing = accounting.unaccounted()
    if missing:
        what = "unaccounted for" if missing > 0 else "more accounted for than were created"
        line += f" — ACCOUNTING BROKEN: {abs(missing):,} {what}"
    return line


def _by_reason(what: str, counts: Mapping[str, int]) -> list[str]:
    """Always said, even when it is none: silence about losses is what we are here to end."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()) if count)
    return [f"{sum(counts.values()):,} {what}" + (f" ({reasons})" if reasons else "")]
