"""The one line that ends every live command and replay."""

from __future__ import annotations

from inetprobe.record.accounting import Accounting


def summary_line(accounting: Accounting, *, calls: bool = False) -> str:
    """Calls, those that failed by errno, complete, incomplete and lost by reason, what was not looked at, and in
    capitals a number that does not add up. ``calls``: also both sides of the second identity, as in the JSON."""
    shown = accounting.entries - accounting.filtered
    parts = [f"{shown:,} call{'s' * (shown != 1)}", _by_reason("failed", accounting.failed)]
    parts.append(f"{accounting.complete:,} complete")
    parts.append(_by_reason("incomplete", accounting.incomplete))
    parts.append(_by_reason("lost", accounting.lost))
    extras = {
        "filtered out": accounting.filtered,
        "in flight": accounting.in_flight,
        "foreign calls": accounting.foreign,
        "returns without an entry": accounting.orphan_returns,
        "children of COMMAND not followed": accounting.unfollowed,
    }
    parts += [f"{count:,} {name}" for name, count in extras.items() if count]
    named = {
        "not shown of other families": accounting.other_families,
        "accepted": accounting.accepted,
        "probe hits missed": accounting.probe_misses,
        "probe programs skipped": accounting.program_skipped,
        "stacks without all frames": accounting.stacks_lost,
    }
    parts += [_by_reason(name, counts) for name, counts in named.items() if counts]
    if calls:
        parts.append(f"system calls: {', '.join(f'{name} {count:,}' for name, count in accounting.calls.items()) or 0}")
    for number, name in (
        (accounting.unaccounted(), "calls"),
        (accounting.unaccounted_calls(), "system calls"),
        (accounting.unaccounted_creates(), "creates"),
    ):
        if number:
            parts.append(f"{number:+,} {name} UNACCOUNTED FOR")
    return ", ".join(parts)


def _by_reason(name: str, counts: dict[str, int]) -> str:
    total = sum(counts.values())
    detail = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
    return f"{total:,} {name}" + (f" ({detail})" if total else "")
