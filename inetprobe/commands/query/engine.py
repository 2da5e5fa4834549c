"""DuckDB without what a query over untrusted recordings does not need: files, network, extensions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from inetprobe.base.errors import FULL, UsageError

_ROWS = 2048


@contextmanager
def opened(tables: Mapping[str, Any]) -> Iterator[Any]:
    """A connection that can read ``tables`` (name → Arrow stream) and nothing else."""
    import duckdb  # the extra ``query`` brings it

    with tempfile.TemporaryDirectory(prefix="inetprobe-query-") as spill:
        settings: dict[str, Any] = {
            "temp_directory": spill,  # else .tmp in the current folder
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",  # FROM must not find variables of this program
        }
        connection = duckdb.connect(":memory:", config=settings)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # Last, since it cannot be undone, and the temporary folder cannot be chosen after it.
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            for name, stream in tables.items():
                connection.register(name, stream)
            yield connection
        finally:
            connection.close()


def ask(connection: Any, sql: str) -> pa.RecordBatchReader:
    """The answer as a stream: reading it runs the query. Raises UsageError with DuckDB's message."""
    with sql_errors():
        relation = connection.sql(sql)
        if relation is None:  # a statement without an answer, such as SET
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        reader: pa.RecordBatchReader = relation.to_arrow_reader(_ROWS)
        return reader


@contextmanager
def sql_errors() -> Iterator[None]:
    """Turns DuckDB's errors, in planning and in running a query, into UsageError with one sentence."""
    import duckdb

    try:
        yield
    except OverflowError:  # of Python, which the answer goes through
        raise UsageError(
            "the query failed: the answer has a date or time beyond the years 1 to 9999: cast it to varchar"
        ) from None
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno in FULL):
            raise  # the reader of the answer has gone, or its disk is full: not an error of the query
        raise UsageError(f"the query failed: {_sentence(str(error))}") from None


def _sentence(message: str) -> str:
    """The message without the quoted line of SQL below it, but with the hint."""
    lines = [line.strip() for line in message.splitlines()]
    quoted = next((index for index, line in enumerate(lines) if line.startswith("LINE ")), len(lines))
    return " ".join(line for line in lines[:quoted] if line)[:1000] or "DuckDB does not say why"
