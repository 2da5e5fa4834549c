"""``inetprobe trace``: live call traces from this kernel."""

from __future__ import annotations

from dataclasses import replace

import click

from inetprobe.cli.complete import FILE
from inetprobe.cli.live import LiveRun, live_options, run_live, stack_options
from inetprobe.cli.options import COMMAND_LAST, Filtering, filter_options, open_sinks, output_options


@click.command("trace", cls=Filtering, context_settings=COMMAND_LAST)
@filter_options
@output_options
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Also write what is shown to this recording.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many sockets.")
@stack_options
@live_options
def trace_command(form: str, color: str, output: str | None, count: int | None, live: LiveRun) -> None:
    """Trace the sockets that this kernel makes or refuses; with COMMAND, only those of it and its descendants.

    Shown are inet sockets, and every socket() and socketpair() that fails, of any family; --family all adds those of
    other families that succeed, --seccomp what seccomp filters refuse.

    \b
    Examples:
      inetprobe trace --failed --format line
      inetprobe trace --user nobody -- ping -c 1 127.0.0.1
    """
    live = replace(live, output=output, count=count)
    run_live(live, lambda run, file: open_sinks(form, color, file, run))
