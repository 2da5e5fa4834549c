"""``inetprobe export``: converts a recording for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from inetprobe.base.errors import RecordingError, UsageError
from inetprobe.base.files import same_file
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, filter_options
from inetprobe.cli.progress import reading
from inetprobe.cli.terminal import say
from inetprobe.commands.export.formats import FORMATS, Export, ExportOptions, open_export
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump

_STDOUT = ("folded",)


@click.command("export", cls=Filtering)
@filter_options
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="OUT",
    help="Output file; - is stdout, the default of folded. FOLDER/: see parquet.",
)
@click.option(
    "--by",
    default="comm",
    show_default=True,
    help="Root of folded stacks: comm, pid, cgroup, container, pod or unit.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no summary and no progress.")
@click.argument("recording", type=FILE, metavar="FILE")
def export_command(filters: Filters, form: str, output: str | None, by: str, quiet: bool, recording: str) -> None:
    """Convert a recording for other tools.

    \b
    perfetto  a trace for ui.perfetto.dev and trace_processor, one track per thread
    folded    stacks by self time in nanoseconds, for flamegraph.pl and speedscope
    parquet   one row per socket; with -o FOLDER/ a folder for each table that
              `inetprobe query` has: traces, calls, recordings; for Spark and others

    \b
    Examples:
      inetprobe export traces.arrows --to perfetto -o traces.pftrace
      inetprobe export traces.arrows --to folded --failed | flamegraph.pl > failed.svg
      inetprobe export traces.arrows --to parquet -o lake/
    """
    if output is None:
        if form not in _STDOUT:
            target = "OUT.parquet or FOLDER/" if form == "parquet" else "FILE"
            raise UsageError(f"--to {form} needs an output: give -o {target}")
        output = "-"
    if same_file(output, recording):
        raise UsageError("-o names the recording that is exported: give another file")
    with reading([Path(recording)], quiet=quiet, printing=output == "-") as advance:
        source = RecordingReader(Path(recording), on_read=advance)
        accounting = _export(
            source, filters, open_export(form, source.run, ExportOptions(output, recording, by)), output
        )
    say(quiet)(summary_line(accounting))


def _export(source: RecordingReader, filters: Filters, export: Export, output: str) -> Accounting:
    try:
        return pump(source, filters, [export])
    except RecordingError as error:
        # The part before the damage is kept, and marked as incomplete.
        export.cut_short(source.accounting(), str(error))
        where = "stdout" if output == "-" else output
        raise RecordingError(f"{error}; {where} contains the part before that") from None
    finally:
        export.discard()
