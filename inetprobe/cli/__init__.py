"""The command line: a click group, a file a command, each imported only when it is run."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from inetprobe import __version__
from inetprobe.errors import EXIT_FAILED, EXIT_INTERRUPTED, FULL, InetprobeError
from inetprobe.text import printable

#: Each command's first sentence, which `inetprobe -h` and completion show without importing the command.
_HELPS = {
    "trace": "Trace inet sockets as this kernel makes them; with COMMAND, only its own and those of all it starts.",
    "top": "Who makes sockets, what fails and what is slow: tables that live.",
    "record": "Record inet sockets as this kernel makes them, and print nothing but notes.",
    "replay": "Show a recording again: no kernel, no root, no bcc.",
    "explain": "Say what socket() would do: the calls, the errno, why, and what would change it.",
    "check": "Hold every trace of recordings against the model, and the recordings against budgets and an older one.",
    "report": "Make one HTML page of recordings that opens offline: what failed, what was slow, what was autoloaded, "
    "and why.",
    "export": "Write a recording for other tools.",
    "query": "Ask recordings in SQL, with DuckDB inside.",
    "serve": "Serve exact counts of this kernel's inet sockets to Prometheus.",
    "doctor": "Can this machine be traced?",
    "vm": "Run 'inetprobe ARGS...' in a throwaway VM.",
    "completion": "Print what makes a shell complete commands, options and the filters' values.",
}
_COMMANDS = tuple(_HELPS)
#: The shell's script asks through it.
COMPLETE_VARIABLE = "_INETPROBE_COMPLETE"


class _Lazy(click.Group):
    """``replay`` must not import bcc, nor ``trace`` pyarrow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with no_library_threads():
            module = importlib.import_module(f"inetprobe.cli.{cmd_name}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELPS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, text in _HELPS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # here, since click itself would make it exit status 1
            _leave_quietly()


@contextlib.contextmanager
def no_library_threads() -> Iterator[None]:
    """What is imported here begins no threads: one that was there before capabilities are dropped would keep them.

    numpy's BLAS starts one a CPU, and nothing here multiplies matrices; Arrow's allocator one that gives memory back.
    """
    switches = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    before = {name: os.environ.get(name) for name in switches}
    os.environ |= switches
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]  # it is not COMMAND's business
            else:
                os.environ[name] = value


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="inetprobe")
def cli() -> None:
    """Live call traces of how inet sockets come to be: why socket() failed, and why it was slow."""


def main() -> None:
    """The console script: every error of ours is one sentence and its exit status."""
    _open_what_is_closed()
    try:
        sys.exit(cli.main(prog_name="inetprobe", complete_var=COMPLETE_VARIABLE, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InetprobeError as error:
        _say(f"inetprobe: {printable(str(error))}")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _say(f"inetprobe: stdout cannot be written: {error.strerror}: make room, or write it elsewhere")
        _forget_stdout()
        sys.exit(EXIT_FAILED)


def _open_what_is_closed() -> None:
    """A standard stream that whoever started this has closed (``>&-``) is none to Python, and its number goes to the
    next file that is opened, which may be a recording."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            if nothing != number:
                os.close(nothing)
            os.set_inheritable(number, True)  # COMMAND's, too
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _leave_quietly() -> NoReturn:
    _forget_stdout()
    sys.exit(0)


def lenient_stdout() -> None:
    """What stdout's encoding lacks, of a path or a comm, is escaped there instead of ending the command."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """What Python still has buffered for it must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(quiet: bool) -> Any:
    """A function that tells the user one line on stderr, or nobody."""
    return (lambda line: None) if quiet else (lambda line: _say(f"inetprobe: {printable(line)}"))
