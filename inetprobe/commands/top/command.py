"""``inetprobe top``: live tables of who creates sockets, what fails and what is slow."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from inetprobe.base.errors import UsageError
from inetprobe.base.text import printable
from inetprobe.cli.complete import FILE
from inetprobe.cli.live import LiveRun, live_options, run_live
from inetprobe.cli.options import COMMAND_LAST, Filtering, filter_options
from inetprobe.cli.terminal import lenient_stdout, no_library_threads, say
from inetprobe.commands.top.collect import Collector
from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.source import LiveSource
from inetprobe.record.accounting import Accounting
from inetprobe.record.filter import Filters, parse_duration
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import Sink, pump

# Twice the time that the source itself waits for creations in flight.
_GRACE_S = 1.0
# The modules of the full screen, and those that textual imports late: once privileges are dropped that could fail.
_SCREEN = (
    *("inetprobe.commands.top.drive", "inetprobe.commands.top.screen", "inetprobe.commands.top.tables"),
    *("textual.drivers.linux_driver", "textual.drivers.headless_driver", "textual.pilot", "textual.scrollbar"),
    *("textual.layouts.factory", "textual.layouts.horizontal", "textual.layouts.stream"),
)


@click.command("top", cls=Filtering, context_settings=COMMAND_LAST)
@filter_options
@click.option("-d", "--interval", metavar="TIME", default="1s", show_default=True, help="Refresh interval.")
@click.option("-b", "--once", is_flag=True, help="Print the tables once, after --duration or else one interval.")
@click.option("--rows", type=click.IntRange(1), default=10, show_default=True, help="Rows per table with --once.")
@click.option("--replay", "recording", type=FILE, metavar="FILE", help="Show a recording instead of this kernel.")
@live_options
def top_command(interval: str, once: bool, rows: int, recording: str | None, live: LiveRun) -> None:
    """Live tables of who creates sockets, what fails and what is slow.

    With COMMAND, only sockets of COMMAND and its descendants. The output of COMMAND is shown only with --once.

    \b
    Examples:
      inetprobe top --failed
      inetprobe top --replay boot.arrows --once
    """
    seconds = parse_duration(interval) / 1e9
    if seconds < 0.1:
        raise UsageError(f"--interval: {interval} is too short to read: give 100ms or more")
    if not once:
        _demand_terminal()
    # Importing takes a while. Nothing must be traced meanwhile, since nobody could see or end it.
    with no_library_threads():
        for name in ("inetprobe.commands.top.once", "inetprobe.commands.top.tables") if once else _SCREEN:
            if importlib.util.find_spec(name):
                importlib.import_module(name)
    collector = Collector(seconds, replayed=recording is not None)
    if recording is not None:
        if live.command:
            raise UsageError("--replay shows a recording and runs no COMMAND: give one or the other")
        _replay(Path(recording), live.options.filters, collector, rows if once else None, live.say)
        return
    if once and not live.command and live.options.duration_s is None:
        live = replace(live, options=replace(live.options, duration_s=seconds))

    def drive(source: LiveSource, filters: Filters, sinks: Sequence[Sink], count: int | None) -> Accounting:
        if once:
            return pump(source, filters, sinks, count)
        return _screen(source, filters, collector)

    sinks: list[Sink] = [collector, *([_Print(collector, rows)] if once else [])]
    run_live(replace(live, silent=not once), lambda run, file: sinks, drive)


class _Print:
    """A sink that prints the tables when the run is over."""

    def __init__(self, collector: Collector, rows: int) -> None:
        self._collector, self._rows = collector, rows

    def batch(self, _batch: object, _run: object) -> None:
        """Does nothing: the collector, which comes first, counts the batch."""

    def summary(self, _accounting: Accounting) -> None:
        """Prints the tables."""
        _print(self._collector, self._rows)


def _print(collector: Collector, rows: int) -> None:
    from inetprobe.commands.top.once import lines
    from inetprobe.commands.top.tables import tables

    lenient_stdout()
    sys.stdout.writelines(f"{line}\n" for line in lines(collector.frame, tables(), rows))
    sys.stdout.flush()


def _demand_terminal() -> None:
    """Raises UsageError where there is no terminal to draw on (textual draws on stderr)."""
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr)):
        if not stream.isatty():
            raise UsageError(f"top needs a terminal, and {name} is not one: use top --once, or inetprobe trace")
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        raise UsageError(
            "top needs a terminal that can move its cursor (TERM is dumb or unset): use top --once, or inetprobe trace"
        )


def _parse(words: Sequence[str]) -> Filters:
    """The filters of a line typed on the screen. Raises UsageError."""
    given: list[Filters] = []

    @click.command(add_help_option=False)
    @filter_options
    def typed(filters: Filters) -> None:
        given.append(filters)

    try:
        typed.main(args=list(words), standalone_mode=False)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None
    return given[0]


def _replay(path: Path, filters: Filters, collector: Collector, rows: int | None, say: Say) -> None:
    from inetprobe.base.errors import RecordingError
    from inetprobe.commands.top.drive import Background, Replays
    from inetprobe.record.arrow.reader import RecordingReader

    if rows is not None:
        source = RecordingReader(path)
        try:
            accounting = pump(source, filters, [collector])
        except RecordingError as error:
            collector.failed(str(error))  # the part before the damage is shown
            _print(collector, rows)
            raise
        _print(collector, rows)
        say(summary_line(accounting))
        return
    from inetprobe.commands.top.screen import Feed, TopScreen, ended_by_signals, show_until_quit
    from inetprobe.commands.top.tables import tables

    replays = Replays(path, filters, collector)
    worker = Background(replays.run)
    app = TopScreen(Feed(collector, replays.restart, _parse, lambda: worker.failed), tables(), f"{path.name}")
    try:
        with ended_by_signals(app):
            worker.start()
            show_until_quit(app)
    finally:
        replays.quit()
    say(summary_line(worker.result()))


def _screen(source: LiveSource, filters: Filters, collector: Collector) -> Accounting:
    """Runs the source in a thread with this thread's priority, and the screen here with an ordinary one."""
    from inetprobe.commands.top.drive import Background
    from inetprobe.commands.top.screen import Feed, TopScreen, ended_by_signals, show_until_quit
    from inetprobe.commands.top.tables import tables

    worker = Background(lambda: pump(source, filters, [collector]))
    feed = Feed(collector, collector.restart, _parse, lambda: worker.failed)
    app = TopScreen(feed, tables(), printable(f"live, {source.run.kernel}"))
    try:
        with ended_by_signals(app):
            if source.stopping:  # by a signal before these handlers were in place
                app.end()
            worker.start()
            os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 0))
            show_until_quit(app)
    finally:
        # Like any other end of a live run: a COMMAND that still runs gets the signal.
        signal.raise_signal(signal.SIGTERM)
        # What follows detaches the probes, and no thread may be reading then.
        try:
            if not worker.ended(_GRACE_S):
                # Not a note that --quiet hides: without it the terminal would seem to hang.
                say(False)("COMMAND got SIGTERM and has not ended yet: waiting for it; Ctrl-C ends tracing at once")
        finally:  # the terminal may be gone
            worker.ended(None)
    return worker.result()
