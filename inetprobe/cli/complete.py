"""What a shell completes a filter's value to."""

from __future__ import annotations

import pwd

import click
from click.shell_completion import CompletionItem

from inetprobe.base.uapi import ERRNOS, FAMILIES, PROTOCOLS, TYPES

#: A file by name, completed as such; whether it can be read is told by whoever reads it.
FILE = click.Path(readable=False)

_PREFIXES = {"family": "AF_", "type": "SOCK_", "protocol": "IPPROTO_"}


def _lower(names: list[str]) -> list[str]:
    return sorted(name.partition("_")[2].lower() for name in names)


def _known(kind: str) -> list[str]:
    if kind == "family":
        return [*_lower(list(FAMILIES.values())), "all"]
    if kind == "type":
        return _lower(list(TYPES.values()))
    if kind == "protocol":
        return _lower(list(PROTOCOLS.values()))
    if kind == "errno":
        return sorted(ERRNOS.values())
    return sorted(user.pw_name for user in pwd.getpwall()) if kind == "uid" else []


def value(_context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The values of the filter ``parameter`` (``filter_family``) that go on from ``incomplete``, which may have others
    before a comma, and a ``!``; in any case, and with the C headers' prefix too."""
    kind = str(parameter.name).removeprefix("filter_")
    before, comma, word = incomplete.rpartition(",")
    bare = word.removeprefix("!")
    mark = word[: len(word) - len(bare)]
    names = _known(kind)
    prefix = _PREFIXES.get(kind, "")
    if prefix and bare.upper().startswith(prefix):
        names = [prefix + name.upper() for name in names if name != "all"]
    found = [name for name in names if name.lower().startswith(bare.lower())]
    return [CompletionItem(f"{before}{comma}{mark}{name}") for name in found]


def side(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``--stack``'s words, which may have others before a comma."""
    before, comma, word = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in ("user", "kernel") if name.startswith(word.lower())]
