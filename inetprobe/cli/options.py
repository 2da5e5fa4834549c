"""Options that several commands share."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from inetprobe.base.errors import UsageError
from inetprobe.base.files import OutputFile
from inetprobe.cli import complete
from inetprobe.cli.terminal import lenient_stdout, no_library_threads
from inetprobe.record.filter import build
from inetprobe.record.run import Run
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.pump import Sink

F = TypeVar("F", bound=Callable[..., Any])

#: How filters combine, for the heading of their list.
FILTERS = "All must match; several values are alternatives; '!VALUE' excludes"
#: For a command that runs COMMAND: options after COMMAND belong to COMMAND, as with strace.
COMMAND_LAST = {"allow_interspersed_args": False}
_REPEATED = {
    "pid": (("--pid", "-p"), "Only this process ID."),
    "comm": (("--comm",), "Only this command name, or a pattern such as 'nginx*'."),
    "uid": (("--uid",), "Only this user ID or name."),
    "cgroup": (("--cgroup",), "Only this cgroup path and everything below it."),
    "netns": (("--netns",), "Only this network namespace: inode, net:[…] or a /proc/PID/ns/net path."),
    "family": (("--family",), "Only this family: inet, inet6, unix, …, or all families."),
    "type": (("--type",), "Only this socket type: stream, dgram, raw, …"),
    "protocol": (
        ("--protocol",),
        "Only this protocol as passed to socket(), mostly ip (0): tcp, udp, sctp, … or a number.",
    ),
    "errno": (("--errno",), "Only this errno, or an unseen outcome: EPERM, EPROTONOSUPPORT, …"),
}


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator made of several options, which --help lists in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_PAGE = 4096
_SUFFIXES = {"": 0, "k": 10, "m": 20, "g": 30}
_SIZE = re.compile(r"(\d{1,10})\s*(?:([kmg]?)(?:i?b)?)", re.IGNORECASE | re.ASCII)


def stdout_option(noun: str) -> Callable[[F], F]:
    """``-o`` of a command that writes one ``noun``, by default to stdout: None is stdout, as is ``-``."""

    def named(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
        return None if name == "-" else name

    words = f"Write the {noun} to this file; - is stdout, the default."
    return click.option("-o", "--output", type=complete.FILE, metavar="FILE", callback=named, help=words)


def parse_size(word: str) -> int:
    """Bytes of ``8MiB``, ``1M``, ``64k`` or ``8388608``: suffixes are powers of 1024, with or without the i.

    Raises UsageError unless it is a valid size of a ring buffer: a power of two from one page to 1 GiB.
    """
    match = _SIZE.fullmatch(word.strip())
    if match is None:
        raise UsageError(f"--ring-size: {word[:40]!r} is not a size: give one such as 8MiB, 512K or 8388608")
    size = int(match[1]) << _SUFFIXES[match[2].lower()]
    if not _PAGE <= size <= 1 << 30:
        raise UsageError(f"--ring-size {word} is out of range: give 4KiB to 1GiB")
    if size & (size - 1):
        nearest = 1 << size.bit_length()
        raise UsageError(f"--ring-size {word} is not a power of two: give {min(nearest, 1 << 30)} or {nearest >> 1}")
    return size


def _ring_size(context: click.Context, _option: click.Parameter, value: str) -> int:
    return 0 if context.resilient_parsing else parse_size(value)  # half-typed during completion


def probe_options(ring_size: int) -> list[Callable[[F], F]]:
    """The options of every command that attaches probes; ``ring_size`` is the default, in bytes."""
    return [
        click.option(
            "--mechanism",
            type=click.Choice(["auto", "kprobe", "fentry"]),
            default="auto",
            show_default=True,
            help="How to attach the probes; auto: fentry, which is cheaper, where it misses nothing.",
        ),
        click.option(
            "--maxactive",
            type=click.IntRange(1, 4096),
            help="Concurrent calls of a function that its kretprobe can follow.  [default: all, up to 4096]",
        ),
        click.option(
            "--ring-size",
            metavar="SIZE",
            default=f"{ring_size >> 20}MiB",
            show_default=True,
            callback=_ring_size,
            help="Size of the ring buffer: a power of two, such as 8MiB or a number of bytes.",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            help="Show the complete logs of the compiler and the verifier, and the count of system calls.",
        ),
    ]


class FilterOption(click.Option):
    """One of the filters, which --help lists in a section of their own."""


class Filtering(click.Command):
    """A command with ``filter_options``: --help lists its other options first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command."""
        for title, filters in (("Options", False), (f"Filters ({FILTERS[0].lower()}{FILTERS[1:]})", True)):
            section = [
                param
                for param in self.get_params(ctx)
                if isinstance(param, click.Option) and isinstance(param, FilterOption) == filters
            ]
            with formatter.section(title):
                formatter.write_dl([record for param in section if (record := param.get_help_record(ctx)) is not None])


def filter_options(function: F) -> F:
    """All filters; the command gets them as one argument, ``filters`` (a ``Filters``)."""

    @functools.wraps(function)  # with the parameters that click has attached to it
    def wrapped(**values: Any) -> Any:
        repeated = {name: values.pop(f"filter_{name}") for name in _REPEATED}
        filters = build(
            repeated,
            failed=values.pop("failed"),
            module_requests=values.pop("module_requests"),
            min_duration=values.pop("min_duration"),
        )
        return function(filters=filters, **values)

    option = functools.partial(click.option, cls=FilterOption)
    decorated: Any = wrapped
    result: F = options(
        *(
            option(
                *flags,
                f"filter_{name}",
                multiple=True,
                metavar="VALUE[,…]",
                help=text,
                shell_complete=complete.value,
            )
            for name, (flags, text) in _REPEATED.items()
        ),
        option("-x", "--failed", is_flag=True, help="Only sockets that failed, or whose outcome was not seen."),
        option("--module-requests", is_flag=True, help="Only sockets that requested a kernel module."),
        option("--min-duration", metavar="TIME", help="Only creations that took at least this long: 5ms, 10us, 1s."),
    )(decorated)
    return result


def output_options(function: F) -> F:
    """--format and --color."""
    return options(
        click.option(
            "--format", "form", type=click.Choice(["tree", "line", "json"]), default="tree", show_default=True
        ),
        click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
    )(function)


def open_sinks(form: str, color: str, output: OutputFile | None, run: Run, *, stable: bool = False) -> list[Sink]:
    """The text sink on stdout and, with ``output``, one that writes a recording."""
    lenient_stdout()
    sinks: list[Sink] = []
    if output is not None:
        sinks.append(open_recording(output, run))
    return [*sinks, open_format(form, sys.stdout, Style(colour=coloured(color), stable=stable))]


def open_recording(output: OutputFile, run: Run, redact: frozenset[str] = frozenset()) -> Sink:
    """A sink that writes a recording. Arrow is imported only here: it takes long."""
    with no_library_threads():
        from inetprobe.record.arrow.writer import RecordingWriter

    return RecordingWriter(output, run, redact)


def coloured(choice: str) -> bool:
    """Does ``choice`` (auto, always or never) mean colour on stdout?"""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"
