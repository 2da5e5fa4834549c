"""The tables of ``top`` as text, printed once: for pipes, logs and terminals without a full screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from inetprobe.base import words
from inetprobe.commands.top.collect import Picture
from inetprobe.commands.top.tables import TableView


def head(frame: Picture) -> tuple[str, str]:
    """Two lines of totals: what was created, and what is missing, even if that is nothing."""
    view = frame.view
    made = frame.per_second(view.sockets - frame.before.sockets)
    failed = frame.per_second(view.failed - frame.before.failed)
    share = f" {100 * view.failed / view.sockets:.3g}%" if view.failed else ""
    first = (
        f"sockets {view.sockets:,}{_rate(made)}  failed {view.failed:,}{share}{_rate(failed)}"
        f"  module requests {view.requests:,}"
    )
    if view.blocked_ns:
        first += f", {words.duration(view.blocked_ns)} blocked"
    if view.bare:
        first += f"  other socks {view.bare:,}"
    return first, f"{_reasons('lost', frame.lost)}  {_reasons('incomplete', view.incomplete)}"


def lines(frame: Picture, tables: Sequence[TableView], rows: int) -> Iterator[str]:
    """Totals, then each table that has rows, at most ``rows`` of them, and how many more there are."""
    yield from head(frame)
    for table in tables:
        sorted_rows = table.sorted(frame, table.sort)
        if not sorted_rows:
            continue
        yield ""
        yield f"{table.title}: {table.about}"
        yield from _table(table, [table.texts(row) for row in sorted_rows[:rows]])
        if len(sorted_rows) > rows:
            yield f"… {len(sorted_rows) - rows:,} more"


def _table(table: TableView, texts: Sequence[tuple[str, ...]]) -> Iterator[str]:
    titles = tuple(column.title for column in table.columns)
    widths = [max(map(len, column)) for column in zip(titles, *texts, strict=True)]
    for row in (titles, *texts):
        cells = (
            cell.rjust(width) if column.number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _rate(value: float | None) -> str:
    return "" if value is None else f" ({value:,.1f}/s)"


def _reasons(noun: str, counts: Mapping[str, int]) -> str:
    nonzero = {reason: count for reason, count in counts.items() if count}
    detail = ", ".join(f"{reason} {count:,}" for reason, count in sorted(nonzero.items()))
    return f"{noun} {sum(nonzero.values()):,}" + (f" ({detail})" if detail else "")
