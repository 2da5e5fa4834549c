"""The command line: a click group whose commands are imported only when they run."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from inetprobe import __version__
from inetprobe.base.errors import EXIT_FAILED, EXIT_INTERRUPTED, FULL, InetprobeError
from inetprobe.base.files import cannot_write_stdout
from inetprobe.base.text import printable
from inetprobe.base.words import did_you_mean
from inetprobe.cli.extras import missing_extra
from inetprobe.cli.terminal import (
    _drop_what_cannot_be_written,
    _forget_stdout,
    _leave_quietly,
    _open_what_is_closed,
    _say,
    no_library_threads,
)

#: Each command's first sentence, which `inetprobe -h` and completion show without importing the command.
_HELPS = {
    "trace": "Trace the sockets that this kernel makes or refuses; with COMMAND, only those of it and its descendants.",
    "why": "Say why socket() and socketpair() fail: run COMMAND, then print each distinct call that failed, once.",
    "top": "Live tables of who creates sockets, what fails and what is slow.",
    "record": "Record the sockets that this kernel makes or refuses, and print only notes.",
    "replay": "Show a recording; this needs no root, no bcc and no traceable kernel.",
    "explain": "Say what socket() or socketpair() would do: the calls, the errno, why, and what would change it.",
    "check": "Check recordings against the model, against budgets and against an older recording.",
    "report": "Make one HTML page of recordings: what failed, what was slow, what was autoloaded, and why.",
    "export": "Convert a recording for other tools.",
    "query": "Query recordings in SQL, using DuckDB.",
    "serve": "Serve exact counts of this kernel's inet sockets to Prometheus.",
    "doctor": "Check whether this machine can be traced.",
    "vm": "Run 'inetprobe ARGS...' in a throwaway VM.",
    "completion": "Print a script that makes a shell complete commands, options and filter values.",
}
_COMMANDS = tuple(_HELPS)
#: The environment variable through which the shell's completion script asks.
COMPLETE_VARIABLE = "_INETPROBE_COMPLETE"


class _Lazy(click.Group):
    """Imports a command when it is looked up: ``replay`` must not import bcc, nor ``trace`` pyarrow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with no_library_threads():
            module = importlib.import_module(_module_of(cmd_name))
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0].isalpha() and args[0] not in _COMMANDS and not ctx.resilient_parsing:
            hint = did_you_mean(args[0], _COMMANDS, f"give one of {', '.join(_COMMANDS)}")
            ctx.fail(f"No such command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_HELPS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=text) for name, text in _HELPS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # caught here, since click itself would exit with status 1
            _leave_quietly()


def _module_of(name: str) -> str:
    """The module of ``commands/NAME.py``, or of ``commands/NAME/command.py``."""
    spec = importlib.util.find_spec(f"inetprobe.commands.{name}")
    assert spec is not None
    return f"{spec.name}.command" if spec.submodule_search_locations else spec.name


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="inetprobe")
def cli() -> None:
    """Trace how the Linux kernel creates sockets: why socket() failed, and why it was slow."""


def _say_usage(error: click.ClickException) -> None:
    """click's error as a sentence like ours, with the command whose --help describes the right usage."""
    message = error.format_message()
    if "\n" in message:  # inetprobe without a command: the whole help
        error.show()
        return
    context = getattr(error, "ctx", None)
    path = "inetprobe" if context is None else context.command_path
    _say(f"inetprobe: {printable(message.rstrip('.'))} (see {path} --help)")


def main() -> None:
    """The console script: each deliberate error becomes one sentence on stderr and its exit status."""
    _open_what_is_closed()
    try:
        sys.exit(cli.main(prog_name="inetprobe", complete_var=COMPLETE_VARIABLE, standalone_mode=False))
    except click.ClickException as error:
        _say_usage(error)
        sys.exit(error.exit_code)
    except InetprobeError as error:
        _say(f"inetprobe: {printable(str(error))}")
        _drop_what_cannot_be_written()
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        lacking = missing_extra(error)
        if lacking is None:
            raise
        _say(f"inetprobe: {lacking}")
        sys.exit(lacking.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _say(f"inetprobe: {cannot_write_stdout(error)}")
        _forget_stdout()
        sys.exit(EXIT_FAILED)
