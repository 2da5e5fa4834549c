"""``inetprobe record``: writes live traces to a recording."""

from __future__ import annotations

from dataclasses import replace

import click

from inetprobe.base.errors import UsageError
from inetprobe.base.files import OutputFile
from inetprobe.cli.complete import FILE
from inetprobe.cli.live import LiveRun, live_options, run_live, stack_options
from inetprobe.cli.options import COMMAND_LAST, Filtering, filter_options, open_recording
from inetprobe.record.arrow.writer import REDACTIONS
from inetprobe.record.run import Run
from inetprobe.trace.pump import Sink


@click.command("record", cls=Filtering, context_settings=COMMAND_LAST)
@filter_options
@click.option("-o", "--output", type=FILE, metavar="FILE", required=True, help="Recording to write.")
@click.option("--redact", metavar="WHAT[,…]", default="", help=f"Leave these out: {', '.join(REDACTIONS)}.")
@stack_options
@live_options
def record_command(output: str, redact: str, live: LiveRun) -> None:
    """Record the sockets that this kernel makes or refuses, and print only notes.

    \b
    Examples:
      inetprobe record -o boot.arrows --duration 60s
      inetprobe record -o share.arrows --redact host,comm,cgroup -- make check
    """
    words = frozenset(word.strip() for word in redact.split(",") if word.strip())
    unknown = words - set(REDACTIONS)
    if unknown:
        raise UsageError(f"--redact: unknown {min(unknown)!r}: give some of {', '.join(REDACTIONS)}")

    def sinks(run: Run, file: OutputFile | None) -> list[Sink]:
        assert file is not None  # -o is required
        return [open_recording(file, run, words)]

    run_live(replace(live, output=output), sinks)
