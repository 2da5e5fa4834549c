"""``inetprobe replay``: shows a recording, through the same pipeline as ``trace``."""

from __future__ import annotations

from pathlib import Path

import click

from inetprobe.base.errors import RecordingError, UsageError
from inetprobe.base.files import OutputFile, same_file
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, filter_options, open_sinks, output_options
from inetprobe.cli.progress import reading
from inetprobe.cli.terminal import say
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import Filters
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump


@click.command("replay", cls=Filtering)
@filter_options
@output_options
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Also write what passes the filters to this recording.")
@click.option("--stable", is_flag=True, help="Leave out what differs between runs: times, durations, IDs.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many sockets.")
@click.option("-q", "--quiet", is_flag=True, help="Print no summary.")
@click.argument("recording", type=FILE, metavar="FILE")
def replay_command(
    filters: Filters,
    form: str,
    color: str,
    output: str | None,
    stable: bool,
    count: int | None,
    quiet: bool,
    recording: str,
) -> None:
    """Show a recording; this needs no root, no bcc and no traceable kernel.

    \b
    Examples:
      inetprobe replay traces.arrows --failed
      inetprobe replay traces.arrows --format json --stable > golden.json
    """
    if output is not None and same_file(output, recording):
        raise UsageError("-o names the recording that is replayed: give another file")
    with reading([Path(recording)], quiet=quiet, printing=True) as advance:
        source = RecordingReader(Path(recording), advance)
        file = None if output is None else OutputFile.create(Path(output))
        sinks = open_sinks(form, color, file, source.run, stable=stable)
        try:
            accounting = pump(source, filters, sinks, count)
        except RecordingError:
            # The part before the damage has been shown; a copy of it must not look complete.
            sinks[-1].summary(source.accounting())
            for sink in sinks:
                if isinstance(sink, RecordingWriter):
                    sink.cut_short()
            raise
    say(quiet)(summary_line(accounting))
