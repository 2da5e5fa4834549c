"""The command line: a click group, a file a command, each imported only when it is run."""

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
from inetprobe.cli.terminal import _forget_stdout, _leave_quietly, _open_what_is_closed, _say, no_library_threads

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
            module = importlib.import_module(_module_of(cmd_name))
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


def _module_of(name: str) -> str:
    """``commands/NAME.py``, or ``command.py`` in the package of that name."""
    found = importlib.util.find_spec(f"inetprobe.commands.{name}")
    assert found is not None
    return f"{found.name}.command" if found.submodule_search_locations else found.name


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
        _say(f"inetprobe: {cannot_write_stdout(error)}")
        _forget_stdout()
        sys.exit(EXIT_FAILED)
