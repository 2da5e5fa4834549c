"""``inetprobe report``: recordings as one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from inetprobe.base.errors import InetprobeError, RecordingError, UsageError
from inetprobe.base.files import same_file, write_whole
from inetprobe.base.words import counted
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, filter_options, stdout_option
from inetprobe.cli.progress import reading
from inetprobe.cli.terminal import say
from inetprobe.record.filter import Filters


@click.command("report", cls=Filtering)
@filter_options
@stdout_option("page")
@click.option("--baseline", type=FILE, metavar="FILE", help="Older recording to compare with: what changed since.")
@click.option(
    "--slowest", type=click.IntRange(0, 500), default=20, show_default=True, help="Number of slowest sockets to show."
)
@click.option("-q", "--quiet", is_flag=True, help="Print no progress and no last line.")
@click.argument("recordings", type=FILE, metavar="FILE...", nargs=-1, required=True)
def report_command(
    filters: Filters, output: str | None, baseline: str | None, slowest: int, quiet: bool, recordings: tuple[str, ...]
) -> None:
    """Make one HTML page of recordings: what failed, what was slow, what was autoloaded, and why.

    The page opens offline. Several recordings become one page. A recording that is cut short or damaged is shown up to
    there, and the page says so; the exit status is then 4.

    \b
    Examples:
      inetprobe report boot.arrows -o report.html
      inetprobe report after.arrows --baseline before.arrows --comm nginx -o report.html
    """
    from inetprobe.commands.check.baseline import Baseline, compare
    from inetprobe.commands.report.gather import GatherOptions, gather
    from inetprobe.commands.report.page import render

    paths = [Path(name) for name in recordings]
    old = [] if baseline is None else [Path(baseline)]
    _writable(output, [*paths, *old])
    wanted = GatherOptions(filters, slowest=slowest, sample=baseline is not None)
    with reading([*paths, *old], quiet=quiet) as advance:
        now = gather(paths, wanted, advance)
        before = gather(old, wanted, advance) if old else None
    changes = None
    if now.sample is not None and before is not None and before.sample is not None:
        runs = [one.run for one in now.recordings]
        changes = compare(now.sample, runs, Baseline(before.recordings[0].run, before.sample))
    _write(render(now, before, changes, slowest=slowest, filters=filters.describe()), output)
    damaged = [one.damage for one in [*now.recordings, *(before.recordings if before else [])] if one.damage]
    if damaged:
        raise RecordingError("; ".join(damaged))
    sockets = sum(one.stats.view().sockets for one in now.recordings)
    if output is not None:
        megabytes = Path(output).stat().st_size / 1e6
        say(quiet)(f"{output}: {counted(sockets, 'socket')}, {megabytes:.1f} MB: open it in a browser")


def _writable(output: str | None, inputs: list[Path]) -> None:
    """Raises UsageError or InetprobeError if the page could not be written in the end."""
    if output is None:
        if sys.stdout.isatty():
            raise UsageError("a page is not readable on a terminal: give -o report.html, or redirect stdout")
        return
    path = Path(output)
    if same_file(path, *inputs):
        raise UsageError("-o names an input file: give another file")
    if path.is_dir():
        raise InetprobeError(f"the page {output} cannot be written: it is a folder: give a file in it")
    if not path.parent.is_dir():
        raise InetprobeError(f"the page {output} cannot be written: there is no folder {path.parent}: create it")


def _write(page: str, output: str | None) -> None:
    if output is None:
        sys.stdout.buffer.write(page.encode())
        sys.stdout.flush()
        return
    write_whole("page", output, page)
