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

#: What holds of all filters alike, for the head of their list.
FILTERS = "All must hold; values of one are alternatives, !VALUE negates"
#: For a command that runs another one: what follows COMMAND is its own, as with strace.
COMMAND_LAST = {"allow_interspersed_args": False}
_REPEATED = {
    "pid": (("--pid", "-p"), "process id"),
    "comm": (("--comm",), "command name, or a pattern such as 'nginx*'"),
    "uid": (("--uid",), "user id or name"),
    "cgroup": (("--cgroup",), "cgroup path, with everything below it"),
    "netns": (("--netns",), "network namespace: inode, net:[…] or a /proc/PID/ns/net path"),
    "family": (("--family",), "inet, inet6, unix, …, or all"),
    "type": (("--type",), "stream, dgram, raw, …"),
    "protocol": (("--protocol",), "tcp, udp, icmp, sctp, … or a number"),
    "errno": (("--errno",), "EPERM, EPROTONOSUPPORT, …"),
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


def parse_size(word: str) -> int:
    """Bytes of ``8MiB``, ``1M``, ``64k``, ``8388608``: a suffix counts by 1024 with and without its i.

    Raises UsageError for what is no size of a ring: a power of two from a page to 1 GiB.
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
    return 0 if context.resilient_parsing else parse_size(value)  # while it is completed, it may be half a word


def probe_options(ring_size: int) -> list[Callable[[F], F]]:
    """How the probes are set, for whatever sets some; ``ring_size`` is the default, in bytes."""
    return [
        click.option(
            "--mechanism",
            type=click.Choice(["auto", "kprobe", "fentry"]),
            default="auto",
            show_default=True,
            help="How to attach; auto: fentry where the kernel has it.",
        ),
        click.option(
            "--maxactive",
            type=click.IntRange(1, 4096),
            help="Threads inside one function before a kretprobe misses returns.  [default: all, up to 4096]",
        ),
        click.option(
            "--ring-size",
            metavar="SIZE",
            default=f"{ring_size >> 20}MiB",
            show_default=True,
            callback=_ring_size,
            help="The ring buffer's: a power of two, such as 8MiB or a number of bytes.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Show the compiler's and the verifier's whole log."),
    ]


class FilterOption(click.Option):
    """One of the filters, which --help lists apart."""


class Filtering(click.Command):
    """A command with ``filter_options``: what is its own comes first in --help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command."""
        for title, filters in (("Options", False), (f"Filters ({FILTERS[0].lower()}{FILTERS[1:]})", True)):
            options = (one for one in self.get_params(ctx) if isinstance(one, click.Option))
            found = [one for one in options if isinstance(one, FilterOption) == filters]
            with formatter.section(title):
                formatter.write_dl([record for one in found if (record := one.get_help_record(ctx)) is not None])


def filter_options(function: F) -> F:
    """The contract's filters; the command gets them as one ``filters``."""

    @functools.wraps(function)  # what click has hung on it too
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
                help=f"Only: {text}" if text.endswith("…") else f"Only: {text}.",
                shell_complete=complete.value,
            )
            for name, (flags, text) in _REPEATED.items()
        ),
        option("-x", "--failed", is_flag=True, help="Only those that failed."),
        option("--module-requests", is_flag=True, help="Only those that asked for a module."),
        option("--min-duration", metavar="TIME", help="Only those that took as long: 5ms, 10us, 1s."),
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
    """The text sink on stdout and, with ``output``, a recording too."""
    lenient_stdout()
    sinks: list[Sink] = []
    if output is not None:
        sinks.append(open_recording(output, run))
    return [*sinks, open_format(form, sys.stdout, Style(colour=coloured(color), stable=stable))]


def open_recording(output: OutputFile, run: Run, redact: frozenset[str] = frozenset()) -> Sink:
    """A recording, whose library is loaded only now."""
    with no_library_threads():
        from inetprobe.record.arrow.writer import RecordingWriter

    return RecordingWriter(output, run, redact)


def coloured(choice: str) -> bool:
    """Does --color ask for colour on stdout?"""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"
