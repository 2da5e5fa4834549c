"""Man pages from click's own declarations: ``python -m tools.man FOLDER`` writes one a command."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from inetprobe.cli.main import _COMMANDS, _HELPS, cli
from inetprobe.cli.options import FILTERS, FilterOption

_DATE = "2026-11-26"  # man(7) demands one: of the last change worth reading them again for
_STATUSES = {
    "0": "It was done; a live run that a signal ended, too. With COMMAND, its own status.",
    "1": "check: a check failed.",
    "2": "The command line, or an option in a file, is wrong.",
    "3": "This machine cannot be traced: inetprobe doctor says why.",
    "4": "A recording is empty, damaged, cut short, foreign or, for check, lossy.",
    "125": "inetprobe itself failed.",
    "126": "COMMAND cannot be run.",
    "127": "COMMAND was not found.",
    "130": "It was interrupted before it began.",
}
_VARIABLES = {
    "NO_COLOR": "Set to anything: no colour, unless --color always asks for it.",
    "INETPROBE_CACHE": "Where compiled programs are kept, and kernels for the VM, instead of ~/.cache/inetprobe: a "
    "folder that nobody else can write to.",
    "XDG_CACHE_HOME": "The folder that inetprobe's cache is in, instead of ~/.cache.",
}


def page(name: str) -> str:
    """The page of the command ``name``, or of inetprobe itself for an empty one, as man(7) source."""
    context = click.Context(cli, info_name="inetprobe", **cli.context_settings)
    command = cli.get_command(context, name) if name else cli
    assert command is not None
    title = f"inetprobe-{name}" if name else "inetprobe"
    short = _HELPS[name] if name else (command.help or "").strip()
    own = click.Context(command, info_name=name, parent=context) if name else context
    lines = [f'.TH "{title.upper()}" "1" "{_DATE}" "inetprobe" "User Commands"', ".SH NAME"]
    lines += [f"{_plain(title)} \\- {_plain(short.rstrip('.'))}", ".SH SYNOPSIS"]
    lines += [f".B inetprobe {_plain(name)}".rstrip(), _plain(" ".join(command.collect_usage_pieces(own)))]
    description, examples = _parts(command)
    lines += [".SH DESCRIPTION", *description]
    if not name:
        lines += [".SH COMMANDS", *(line for one in _COMMANDS for line in _item(f"inetprobe-{one}(1)", _HELPS[one]))]
        examples = [example for one in _COMMANDS for example in _parts(_command(context, one))[1][:1]]
    options = [one for one in command.get_params(own) if isinstance(one, click.Option)]
    filters = [one for one in options if isinstance(one, FilterOption)]
    lines += [".SH OPTIONS", *_items((one for one in options if one not in filters), own)]
    if filters:
        lines += [".SH FILTERS", _plain(f"{FILTERS}."), *_items(filters, own)]
    lines += [".SH EXIT STATUS", *(line for one in _STATUSES.items() for line in _item(*one))]
    lines += [".SH ENVIRONMENT", *(line for one in _VARIABLES.items() for line in _item(*one))]
    lines += [".SH EXAMPLES", ".nf", *map(_plain, examples), ".fi"]
    others = ["inetprobe", *(f"inetprobe-{one}" for one in _COMMANDS)]
    others = [one for one in ("inetprobe", *(f"inetprobe-{one}" for one in _COMMANDS)) if one != title]
    lines += [".SH SEE ALSO", *(f".BR {_plain(one)} (1){',' * (one != others[-1])}" for one in others)]
    return "\n".join(lines) + "\n"


def pages() -> Iterator[tuple[str, str]]:
    """Each page's file name and text."""
    for name in ("", *_COMMANDS):
        yield f"inetprobe{'-' * bool(name)}{name}.1", page(name)


def _command(context: click.Context, name: str) -> click.Command:
    command = cli.get_command(context, name)
    assert command is not None
    return command


def _parts(command: click.Command) -> tuple[list[str], list[str]]:
    """The help's paragraphs as source, and its examples as they are typed."""
    text = inspect.cleandoc(command.help or "") + "\n\n" + inspect.cleandoc(command.epilog or "")
    description: list[str] = []
    examples: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        verbatim = block.startswith("\b\n")
        block = block.removeprefix("\b\n")
        if block.startswith("Examples:"):
            examples = [line.strip() for line in block.splitlines()[1:]]
        elif verbatim:
            description += [".PP", ".nf", *map(_plain, block.splitlines()), ".fi"]
        else:
            description += [".PP"] * bool(description) + [_plain(" ".join(block.split()))]
    return description, examples


def _items(options: Iterable[click.Option], context: click.Context) -> Iterator[str]:
    for record in (one.get_help_record(context) for one in options):
        if record is not None:
            yield from _item(*record)


def _item(head: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_plain(head)}\\fR", _plain(" ".join(text.split())) or "\\&"]


def _plain(text: str) -> str:
    """Text that roff shows as it is: no escape, no request, hyphens that can be copied as minus signs."""
    shown = text.replace("\\", "\\(rs").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha")
    shown = shown.replace("~", "\\(ti").replace("`", "\\(ga").replace('"', "\\(dq")
    return f"\\&{shown}" if shown.startswith(".") else shown


def main() -> None:
    """Writes every page into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
