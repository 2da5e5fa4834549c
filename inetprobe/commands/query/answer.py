"""Answers as a table for people, as JSON lines or as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, TextIO

import pyarrow as pa

from inetprobe.base.text import printable

_WIDTH_ROWS = 1000
#: OWASP's "CSV injection": with these a spreadsheet's formula begins, quoted or not.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def table(answer: pa.RecordBatchReader, out: TextIO) -> None:
    """Aligned columns, numbers to the right; the widths are those of the first thousand rows."""
    names = [printable(name) for name in answer.schema.names]
    right = [_is_number(field.type) for field in answer.schema]
    rows = _rows(answer)
    first = [_cells(row) for row, _ in zip(rows, range(_WIDTH_ROWS), strict=False)]
    widths = [max(len(cell) for cell in column) for column in zip(names, *first, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip() + "\n"

    out.write(line(names))
    out.write(line(["-" * width for width in widths]))
    out.writelines(line(cells) for cells in first)
    out.writelines(line(_cells(row)) for row in rows)


def json_lines(answer: pa.RecordBatchReader, out: TextIO) -> None:
    """One object per row."""
    names = answer.schema.names
    out.writelines(
        json.dumps(dict(zip(names, map(_json, row), strict=True)), allow_nan=False) + "\n" for row in _rows(answer)
    )


def csv_lines(answer: pa.RecordBatchReader, out: TextIO) -> str | None:
    """RFC 4180 with a header line; null is empty, a list or struct is JSON. On a terminal text is escaped.

    The text is what was recorded, since programs read it, too. Where a spreadsheet would take it for formulas, as any
    process can choose its comm, the sentence that says so is returned.
    """
    escape: Callable[[str], str] = printable if out.isatty() else str
    writer = csv.writer(_Lines(out), lineterminator=_Lines.END)
    names = answer.schema.names
    writer.writerow([escape(name) for name in names])
    formulas: dict[str, str] = {}
    for row in _rows(answer):
        for name, value in zip(names, row, strict=True):
            if isinstance(value, str) and value.startswith(_FORMULA):
                formulas.setdefault(name, value)
        writer.writerow([None if value is None else escape(_word(value)) for value in row])
    if not formulas or out.isatty():
        return None
    return (
        f"a spreadsheet takes text in {', '.join(formulas)} for formulas, such as "
        f"{next(iter(formulas.values()))[:40]!r}: import the CSV with every column as text"
    )


class _Lines:
    """Ends rows with \\n, although csv.writer is told \\r\\n: it quotes only the characters of its line end, and a
    field may contain \\r."""

    END = "\r\n"

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, row: str) -> int:
        return self._out.write(row.removesuffix(self.END) + "\n")


#: By the values of --format; each may return a sentence for the user.
FORMATS: dict[str, Callable[[pa.RecordBatchReader, TextIO], str | None]] = {
    "table": table,
    "json": json_lines,
    "csv": csv_lines,
}


def _rows(answer: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    for batch in answer:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _cells(row: tuple[Any, ...]) -> list[str]:
    return [printable("" if value is None else _word(value)) for value in row]


def _word(value: Any) -> str:
    """A value as one word for people and CSV."""
    plain = _json(value)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain, allow_nan=False)


def _json(value: Any) -> Any:
    """A value as JSON can represent it."""
    if isinstance(value, dict):
        return {str(name): _json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | time | timedelta):
        return str(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
