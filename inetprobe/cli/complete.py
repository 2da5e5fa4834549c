"""Completion of filter values in a shell."""

from __future__ import annotations

import pwd

import click
from click.shell_completion import CompletionItem

from inetprobe.base.uapi import ERRNOS, FAMILIES, PROTOCOLS, TYPES

#: A file name, completed as such; its reader reports a file that cannot be read.
FILE = click.Path(readable=False)

_PREFIXES = {"family": "AF_", "type": "SOCK_", "protocol": "IPPROTO_"}


def _lower(names: list[str]) -> list[str]:
    return sorted(name.partition("_")[2].lower() for name in names)


def _known(filter_name: str) -> list[str]:
    if filter_name == "family":
        return [*_lower(list(FAMILIES.values())), "all"]
    if filter_name == "type":
        return _lower(list(TYPES.values()))
    if filter_name == "protocol":
        return _lower(list(PROTOCOLS.values()))
    if filter_name == "errno":
        return sorted(ERRNOS.values())
    return sorted(user.pw_name for user in pwd.getpwall()) if filter_name == "uid" else []


def value(_context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The values of the filter ``parameter`` (such as ``filter_family``) that begin with ``incomplete``: also after
    other values and a comma, after ``!``, in any case, and with the C headers' prefix."""
    filter_name = str(parameter.name).removeprefix("filter_")
    before, comma, word = incomplete.rpartition(",")
    bare = word.removeprefix("!")
    mark = word[: len(word) - len(bare)]
    names = _known(filter_name)
    prefix = _PREFIXES.get(filter_name, "")
    if prefix and bare.upper().startswith(prefix):
        names = [prefix + name.upper() for name in names if name != "all"]
    matches = [name for name in names if name.lower().startswith(bare.lower())]
    return [CompletionItem(f"{before}{comma}{mark}{name}") for name in matches]


def side(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The values of ``--stack``, also after another value and a comma."""
    before, comma, word = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in ("user", "kernel") if name.startswith(word.lower())]
