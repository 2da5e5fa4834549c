"""What ``trace`` and ``record`` share: the options of a live run, and running one from start to summary."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from inetprobe.base.errors import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, EXIT_NOT_FOUND, CommandError, UsageError
from inetprobe.base.files import OutputFile
from inetprobe.base.signals import handled
from inetprobe.cli import complete
from inetprobe.cli.options import options, probe_options
from inetprobe.cli.terminal import say
from inetprobe.kernel.frames.naming import StackOptions
from inetprobe.kernel.host import privileges
from inetprobe.kernel.source import RING_SIZE, LiveOptions, LiveSource
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
Drive = Callable[[LiveSource, Filters, Sequence[Sink], int | None], Accounting]
F = TypeVar("F", bound=Callable[..., Any])


def live_options(function: F) -> F:
    """The options of every live command; they arrive as keywords of ``run_live``."""
    return options(
        click.option("--duration", metavar="TIME", help="Stop after this time, such as 10s."),
        click.option("--user", metavar="NAME", help="Run COMMAND as this user; root never gets EPERM."),
        *probe_options(RING_SIZE),
        click.option("--also", multiple=True, metavar="FUNCTION[,…]", help="Also trace these kernel functions."),
        click.option("--sock", is_flag=True, help="Also show the fields of each inet_sock that was created."),
        click.option("-q", "--quiet", is_flag=True, help="Print no notes and no summary."),
        click.argument("command", metavar="[-- COMMAND …]", nargs=-1, type=click.UNPROCESSED),
    )(function)


def stack_options(function: F) -> F:
    """Those of the commands that show a trace; they arrive as keywords of ``run_live``, too."""
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
    """What --stack and --stack-slow ask for, None for nothing. Raises UsageError."""
    words = {word.strip() for given in stack for word in given.split(",")}
    unknown = words - set(SIDES)
    if unknown:
        raise UsageError(f"--stack: unknown {min(unknown)[:40]!r}: give user, kernel, or user,kernel")
    if not words:
        if slow is not None:
            raise UsageError("--stack-slow goes with --stack user or --stack kernel: give one, or both")
        return None
    return StackOptions("kernel" in words, "user" in words, parse_duration(slow or STACK_SLOW))


def run_live(
    open_sinks: Callable[[Run, OutputFile | None], list[Sink]],
    *,
    output: str | None,
    filters: Filters,
    command: Sequence[str],
    user: str | None,
    duration: str | None,
    count: int | None,
    mechanism: str,
    maxactive: int | None,
    ring_size: int,
    also: tuple[str, ...],
    sock: bool,
    verbose: bool,
    quiet: bool,
    stack: Sequence[str] = (),
    stack_slow: str | None = None,
    drive: Drive = pump,
    silent: bool = False,
) -> None:
    """Traces until told to stop, then prints the summary and exits as COMMAND did, or with 0.

    ``drive`` takes the source's batches to the sinks; ``silent`` keeps COMMAND from this terminal.
    """
    if user is not None and not command:
        raise UsageError("--user goes with a COMMAND: inetprobe trace --user NAME -- COMMAND")
    stacks = wanted_stacks(stack, stack_slow)
    seconds = None if duration is None else parse_duration(duration) / 1e9
    child = _hold(command, user, silent=silent)
    tell = say(quiet)
    live = LiveOptions(filters, ring_size, maxactive, mechanism, also, seconds, sock, stacks, verbose=verbose)
    try:
        with _interruptible() as stop, LiveSource(live, child, tell, stop.check) as source:
            file = None if output is None else OutputFile.create(Path(output))
            sinks = open_sinks(source.run, file)
            importlib.import_module("numpy.ma")  # numpy itself leaves that to the first np.unique()
            _go_first(tell)
            # Nothing of ours is loaded after this: root without capabilities cannot enter another user's closed home.
            privileges.drop(_kept(user, stacks))
            stop.calls = lambda number: _stop(source, child, number)
            stop.check()
            source.start()
            tell("tracing" if child is None else f"tracing {command[0]} and all it starts")
            accounting = drive(source, filters, sinks, count)
        if not source.began:
            sys.exit(EXIT_INTERRUPTED)
        tell(summary_line(accounting))
    finally:
        if child is not None:
            child.close()
    if child is not None:
        status = child.poll()
        sys.stdout.flush()
        sys.exit(0 if status is None else end_like(status))


class _Stop:
    """SIGINT and SIGTERM: remembered until there is something to stop."""

    def __init__(self) -> None:
        self.early = False
        self.calls: Callable[[int], None] | None = None

    def check(self) -> None:
        """Ends inetprobe if one came before there was anything to stop."""
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


def _kept(user: str | None, stacks: StackOptions | None) -> frozenset[int]:
    """The capabilities that are needed to the end."""
    signals = frozenset() if user is None else privileges.SIGNALS
    return signals | (privileges.USER_STACKS if stacks is not None and stacks.user else frozenset())


def _stop(source: LiveSource, child: Command | None, number: int) -> None:
    """Without a COMMAND that runs: stop. With one: it gets the signal and its end is ours; a second signal stops
    regardless."""
    if child is None or child.held or child.poll() is not None or child.signalled:
        source.stop()
        return
    child.signalled = True
    if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal has sent Ctrl-C to COMMAND already
        child.send(number)


def _go_first(tell: Callable[[str], None]) -> None:
    """Ahead of what is traced, which COMMAND's processes do not inherit: a reader that waits for busy threads loses
    what they do."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), _NICE))
    except PermissionError:
        tell("no CAP_SYS_NICE: on a busy machine the reader has to wait, and may lose traces")


def _hold(command: Sequence[str], user: str | None, *, silent: bool) -> Command | None:
    if not command:
        return None
    # Known before seconds are spent on compiling; what only execve() can tell is told when it is let go.
    if shutil.which(command[0]) is None:
        if Path(command[0]).exists():
            raise CommandError(f"{command[0]}: cannot be run: it is not an executable file", EXIT_CANNOT_RUN)
        raise CommandError(f"{command[0]}: not found: give a program on PATH or its path", EXIT_NOT_FOUND)
    return Command(command, user, silent=silent)
