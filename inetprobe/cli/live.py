"""What the live commands share: the options of a live run, and the run from its start to its summary."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from inetprobe.base.errors import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, EXIT_NOT_FOUND, CommandError, UsageError
from inetprobe.base.files import OutputFile
from inetprobe.base.signals import handled
from inetprobe.cli import complete
from inetprobe.cli.options import options, probe_options
from inetprobe.cli.terminal import say
from inetprobe.kernel.callbacks import CheckStop, Say
from inetprobe.kernel.frames.naming import StackOptions
from inetprobe.kernel.host.confinement import Kept, confine
from inetprobe.kernel.source import LiveSource
from inetprobe.kernel.trace_options import RING_SIZE, TraceOptions
from inetprobe.kernel.traced_command import Command, end_like
from inetprobe.record.accounting import Accounting
from inetprobe.record.filter import Filters, parse_duration
from inetprobe.record.run import Run
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import Sink, pump

SIDES = ("user", "kernel")
STACK_SLOW = "10ms"  # as serve's --slow
# Ahead of ordinary processes.
_NICE = -10
OpenSource = Callable[[TraceOptions, "Command | None", Say, CheckStop], LiveSource]
OpenSinks = Callable[[Run, "OutputFile | None"], list[Sink]]
Drive = Callable[[LiveSource, Filters, Sequence[Sink], "int | None"], Accounting]
F = TypeVar("F", bound=Callable[..., Any])


def settle(kept: Kept, say: Say) -> None:
    """Raises this process's priority above what is traced, and gives up all but what is ``kept``."""
    _raise_priority(say)
    confine(kept)


@dataclass(frozen=True, slots=True)
class LiveHost:
    """The machine below a live run. A click context's ``obj`` may give another, without a kernel."""

    open_source: OpenSource = LiveSource.of_kernel
    settle: Callable[[Kept, Say], None] = settle


@dataclass(frozen=True, slots=True)
class LiveRun:
    """One live run, as its command line asks for it.

    ``command``: COMMAND and its arguments, empty to trace everything; it runs as ``user``, and with ``silent`` reads
    and writes nothing of this terminal's. ``output``: the recording to write. ``count``: stop after this many records.
    ``brief``: with COMMAND, say nothing of the run itself unless something was not seen.
    """

    options: TraceOptions
    say: Say
    command: Sequence[str] = ()
    user: str | None = None
    silent: bool = False
    output: str | None = None
    count: int | None = None
    brief: bool = False
    host: LiveHost = field(default_factory=LiveHost)


def live_options(function: F) -> F:
    """The options of every live command; the command gets them, and the filters, as one ``live``."""

    @functools.wraps(function)  # the options that click has hung on it, too
    def wrapped(
        *,
        filters: Filters,
        duration: str | None,
        user: str | None,
        mechanism: str,
        maxactive: int | None,
        ring_size: int,
        also: tuple[str, ...],
        seccomp: bool | None,
        sock: bool,
        verbose: bool,
        quiet: bool,
        command: Sequence[str],
        stack: Sequence[str] = (),
        stack_slow: str | None = None,
        **own: Any,
    ) -> Any:
        if user is not None and not command:
            raise UsageError("--user goes with a COMMAND: inetprobe trace --user NAME -- COMMAND")
        trace = TraceOptions(
            filters=filters,
            ring_size=ring_size,
            maxactive=maxactive,
            mechanism=mechanism,
            also=also,
            seccomp=bool(command) or filters.names_processes if seccomp is None else seccomp,
            duration_s=None if duration is None else parse_duration(duration) / 1e9,
            sock=sock,
            stack=wanted_stacks(stack, stack_slow),
            verbose=verbose,
        )
        host = click.get_current_context().find_object(LiveHost) or LiveHost()
        return function(live=LiveRun(trace, say(quiet), command, user, host=host), **own)

    decorated: Any = options(
        click.option("--duration", metavar="TIME", help="Stop after this time, such as 10s."),
        click.option("--user", metavar="NAME", help="Run COMMAND as this user; root never gets EPERM."),
        *probe_options(RING_SIZE),
        click.option(
            "--also",
            multiple=True,
            metavar="FUNCTION[,…]",
            help="Also trace these kernel functions; lsm: those of security modules that allow or refuse a socket; "
            "descriptor: those that give it a descriptor.",
        ),
        click.option(
            "--seccomp/--no-seccomp",
            default=None,
            help="Also trace what seccomp filters refuse. It costs each system call of every confined process.  "
            "[default: with COMMAND or --pid]",
        ),
        click.option("--sock", is_flag=True, help="Also show the fields of each inet_sock that was created."),
        click.option("-q", "--quiet", is_flag=True, help="Print no notes and no summary."),
        click.argument("command", metavar="[-- COMMAND …]", nargs=-1, type=click.UNPROCESSED),
    )(wrapped)
    result: F = decorated
    return result


def stack_options(function: F) -> F:
    """The options of the commands that show stacks; ``live_options`` takes them."""
    return options(
        click.option(
            "--stack",
            multiple=True,
            metavar="user|kernel[,…]",
            help="Show the call stack of creations that failed or were slow.",
            shell_complete=complete.side,
        ),
        click.option(
            "--stack-slow",
            metavar="TIME",
            help=f"Duration from which a creation counts as slow; 0: all do.  [default: {STACK_SLOW}]",
        ),
    )(function)


def wanted_stacks(stack: Sequence[str], slow: str | None) -> StackOptions | None:
    """The stacks that --stack and --stack-slow ask for, None for none. Raises UsageError."""
    sides = {side.strip() for value in stack for side in value.split(",")}
    unknown = sides - set(SIDES)
    if unknown:
        raise UsageError(f"--stack: unknown {min(unknown)[:40]!r}: give user, kernel, or user,kernel")
    if not sides:
        if slow is not None:
            raise UsageError("--stack-slow goes with --stack user or --stack kernel: give one, or both")
        return None
    return StackOptions("kernel" in sides, "user" in sides, parse_duration(slow or STACK_SLOW))


def run_live(live: LiveRun, open_sinks: OpenSinks, drive: Drive = pump) -> None:
    """Traces until stopped, then prints the summary and exits as COMMAND did, or with 0.

    ``drive`` takes the source's batches to the sinks.
    """
    child = _hold(live)
    try:
        with _interruptible() as stop, live.host.open_source(live.options, child, live.say, stop.check) as source:
            file = None if live.output is None else OutputFile.create(Path(live.output))
            sinks = open_sinks(source.run, file)
            importlib.import_module("numpy.ma")  # numpy itself leaves that to the first np.unique()
            # No module of ours is loaded after this: root without capabilities cannot enter another user's closed home.
            live.host.settle(Kept(signals=child is not None, to_another_user=live.user is not None), live.say)
            stop.calls = lambda number: _stop(source, child, number)
            stop.check()
            source.start()
            if not (live.brief and child):
                live.say("tracing" if child is None else f"tracing {live.command[0]} and all it starts")
            accounting = drive(source, live.options.filters, sinks, live.count)
        if not source.began:
            sys.exit(EXIT_INTERRUPTED)
        if not (live.brief and child and accounting.is_whole()):
            live.say(summary_line(accounting, calls=live.options.verbose))
    finally:
        if child is not None:
            child.close()
    if child is not None:
        status = child.poll()
        sys.stdout.flush()
        sys.exit(0 if status is None else end_like(status))


class _Stop:
    """The handler of SIGINT and SIGTERM: it remembers a signal that comes before there is something to stop."""

    def __init__(self) -> None:
        self.early = False
        self.calls: Callable[[int], None] | None = None

    def check(self) -> None:
        """Exits if a signal came before there was something to stop."""
        if self.early:
            sys.exit(EXIT_INTERRUPTED)

    def __call__(self, number: int, _frame: object) -> None:
        if self.calls is None:
            self.early = True
        else:
            self.calls(number)


@contextlib.contextmanager
def _interruptible() -> Iterator[_Stop]:
    stop = _Stop()
    with handled((signal.SIGINT, signal.SIGTERM), stop):
        yield stop


def _stop(source: LiveSource, child: Command | None, number: int) -> None:
    """Stops where no COMMAND runs. Else COMMAND gets the signal and its end is ours; a second signal stops anyway."""
    if child is None or child.held or child.poll() is not None or child.signalled:
        source.stop()
        return
    child.signalled = True
    if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal has sent Ctrl-C to COMMAND already
        child.send(number)


def _raise_priority(say: Say) -> None:
    """Puts this process ahead of the traced ones (COMMAND's do not inherit it): a reader that has to wait for busy
    threads loses their records."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), _NICE))
    except PermissionError:
        say("no CAP_SYS_NICE: on a busy machine the reader has to wait, and may lose traces")


def _hold(live: LiveRun) -> Command | None:
    command = live.command
    if not command:
        return None
    # Reported before seconds are spent on compiling; the errors of execve() itself are reported on release.
    if shutil.which(command[0]) is None:
        if Path(command[0]).exists():
            raise CommandError(f"{command[0]}: cannot be run: it is not an executable file", EXIT_CANNOT_RUN)
        raise CommandError(f"{command[0]}: not found: give a program on PATH or its path", EXIT_NOT_FOUND)
    return Command(command, live.user, silent=live.silent)
