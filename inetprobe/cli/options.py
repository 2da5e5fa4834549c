"""Options that several commands share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from inetprobe.cli import complete
from inetprobe.errors import UsageError
from inetprobe.filters import build
from inetprobe.run import Run
from inetprobe.sinks import OutputFile, Sink, Style, open_format

F = TypeVar("F", bound=Callable[..., Any])

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


_PAGE = 4096


def _power_of_two(context: click.Context, _option: click.Parameter, value: int) -> int:
    if value & (value - 1) and not context.resilient_parsing:  # while it is completed
        raise UsageError(f"--ring-size {value} is not a power of two")
    return value


def probe_options(ring_size: int) -> list[Callable[[F], F]]:
    """How the probes are set, for whatever sets some; ``ring_size`` is the default, in bytes."""
    return [
        click.option("--mechanism", type=click.Choice(["auto", "kprobe", "fentry"]), default="auto", show_default=True),
        click.option(
            "--maxactive",
            type=click.IntRange(1, 4096),
            help="Threads inside one function before a kretprobe misses returns.  [default: all, up to 4096]",
        ),
        click.option(
            "--ring-size",
            type=click.IntRange(_PAGE, 1 << 30),
            default=ring_size,
            show_default=True,
            callback=_power_of_two,
            help="Bytes of the ring buffer: a power of two.",
        ),
    ]


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

    decorate: Any = wrapped
    decorate = click.option("--min-duration", metavar="TIME", help="At least this long: 5ms, 10us, 1s.")(decorate)
    decorate = click.option("--module-requests", is_flag=True, help="Only those that asked for a module.")(decorate)
    decorate = click.option("-x", "--failed", is_flag=True, help="Only those that failed.")(decorate)
    for name, (flags, text) in reversed(_REPEATED.items()):
        option = click.option(
            *flags,
            f"filter_{name}",
            multiple=True,
            metavar="VALUE[,…]",
            help=f"Only: {text}; !VALUE negates.",
            shell_complete=complete.value,
        )
        decorate = option(decorate)
    result: F = decorate
    return result


def output_options(function: F) -> F:
    """--format and --color."""
    decorate: Any = click.option(
        "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True
    )(function)
    decorate = click.option(
        "--format", "form", type=click.Choice(["tree", "line", "json"]), default="tree", show_default=True
    )(decorate)
    result: F = decorate
    return result


def open_sinks(form: str, color: str, output: OutputFile | None, run: Run, *, stable: bool = False) -> list[Sink]:
    """The text sink on stdout and, with ``output``, a recording too."""
    # Hostile names are escaped, but a replayed comm may hold what stdout's encoding lacks.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    sinks: list[Sink] = []
    if output is not None:
        sinks.append(open_recording(output, run))
    return [*sinks, open_format(form, sys.stdout, Style(colour=coloured(color), stable=stable))]


def open_recording(output: OutputFile, run: Run, redact: frozenset[str] = frozenset()) -> Sink:
    """A recording, whose library is loaded only now."""
    from inetprobe.sinks.recording import RecordingSink

    return RecordingSink(output, run, redact)


def coloured(choice: str) -> bool:
    """Does --color ask for colour on stdout?"""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"
