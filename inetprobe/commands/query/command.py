"""``inetprobe query``: SQL over recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from inetprobe.base.errors import RecordingError, UsageError
from inetprobe.cli.complete import FILE
from inetprobe.cli.progress import reading
from inetprobe.cli.terminal import lenient_stdout, say
from inetprobe.commands.query import engine, questions
from inetprobe.commands.query.answer import FORMATS
from inetprobe.commands.query.scan import Recordings


@click.command("query")
@click.option("--sql", metavar="SQL", help="Query over the tables traces, calls and recordings.")
@click.option("-f", "--file", "file", type=FILE, metavar="FILE", help="Read the query from this file; - is stdin.")
@click.option("--ask", metavar="NAME", help="Ask a ready question; --questions lists them.")
@click.option("--questions", "listed", is_flag=True, help="List the ready questions and exit.")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS)), default="table", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress, and no notes about losses.")
@click.argument("recordings", type=FILE, metavar="FILE...", nargs=-1)
def query_command(
    sql: str | None,
    file: str | None,
    ask: str | None,
    listed: bool,
    form: str,
    quiet: bool,
    recordings: tuple[str, ...],
) -> None:
    """Query recordings in SQL, using DuckDB.

    The tables: traces (one row per socket), calls (one row per call), recordings (one row per file, with its losses). A
    query can read nothing else: no file, no network. docs/queries.md lists the columns.

    CSV has the names as they were recorded, control characters too, except on a terminal. A process can choose a name
    that a spreadsheet takes for a formula: a note says so, and such a file is to be imported with columns as text.

    \b
    Examples:
      inetprobe query *.arrows --ask slowest
      inetprobe query traces.arrows --sql "select comm, errno, count(*) from traces group by all"
    """
    if listed:
        for question in questions.questions().values():
            click.echo(f"{question.name:<20} {' '.join(question.words.split())}")
        return
    if not recordings:
        raise UsageError("there is no recording to query: inetprobe query traces.arrows --ask slowest")
    text = _query(sql, file, ask)
    lenient_stdout()
    with reading([Path(name) for name in recordings], quiet=quiet, printing=True) as advance:
        read = Recordings(recordings, advance)
        with engine.opened(read.tables()) as connection:
            answer = engine.ask(connection, text)
            with engine.sql_errors():
                note = FORMATS[form](answer, sys.stdout)
            sys.stdout.flush()
    if note is not None:
        say(quiet)(note)
    _say_losses(read, quiet)


def _query(sql: str | None, file: str | None, ask: str | None) -> str:
    given = [option for option, value in (("--sql", sql), ("--file", file), ("--ask", ask)) if value is not None]
    if len(given) != 1:
        instead = f", not {' and '.join(given)}" if given else "; --questions lists the ready questions"
        raise UsageError(f"give one of --sql, --file and --ask{instead}")
    if ask is not None:
        return questions.question(ask).sql
    if file is not None:
        try:
            sql = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the query {file} cannot be read: {error}") from None
    assert sql is not None
    if not sql.strip():
        raise UsageError("the query is empty: give a select over traces, calls or recordings")
    return sql


def _say_losses(read: Recordings, quiet: bool) -> None:
    """Prints a line per recording with losses. Raises RecordingError if a recording is not complete."""
    for name, lost in read.lost.items():
        if lost:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in lost.items())
            say(quiet)(f"{name} lost {sum(lost.values()):,} sockets ({reasons}): the answer does not include them")
    if read.problems:
        raise RecordingError("; ".join(read.problems.values()) + "; the answer covers only the part before that")
