"""modprobe: what it would load, and the lines of its configuration that prevent it (modprobe(8), modprobe.d(5))."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from inetprobe.base.text import file_name

_TIMEOUT_S = 10.0
#: libkmod's, by precedence: a file hides those of the same name in later folders.
_FOLDERS = ("etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
_COMMAND_LINE = "modprobe.blacklist="
_DO_NOTHING = (("/bin/true",), ("/usr/bin/true",), ("true",), (":",))
_QUOTED = 120  # characters of a line: an install command may be a script


class ConfigurationLine(NamedTuple):
    """A line of modprobe's configuration: its ``words``, and ``where`` it is: FILE:NUMBER, or /proc/cmdline."""

    where: str
    words: tuple[str, ...]


class Obstacle(NamedTuple):
    """Why modprobe does not load a module.

    ``why``: the end of a sentence that begins "MODULE is on this machine but". ``silent``: modprobe's exit status is 0
    nevertheless, since skipping a blacklisted module and running a command that does nothing are no failures.
    """

    why: str
    remedy: str
    silent: bool


def show_depends(names: Iterable[str]) -> str | None:
    """What modprobe would do to load ``names``, without blacklisted ones; None where modprobe cannot be run."""
    try:
        done = subprocess.run(
            ["modprobe", "--all", "--use-blacklist", "--show-depends", "--", *names],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def configuration(root: Path) -> list[ConfigurationLine]:
    """The configuration's lines below ``root``, in modprobe's order; unreadable files are left out."""
    lines = [line for path in _files(root) for line in _lines(root, path)]
    for word in _text(root / "proc/cmdline").split():
        if word.startswith(_COMMAND_LINE):
            names = word.removeprefix(_COMMAND_LINE).split(",")
            lines += [ConfigurationLine("modprobe.blacklist= in /proc/cmdline", ("blacklist", name)) for name in names]
    return lines


def obstacle(module: str, aliases: Collection[str], lines: Iterable[ConfigurationLine]) -> Obstacle | None:
    """What in ``lines`` keeps modprobe from loading ``module`` by one of ``aliases``; None: nothing.

    A blacklisted module has no aliases, but can be loaded by its own name; an install command replaces both. One for an
    alias, whose name must be whole, takes the alias alone away, as an alias line does (kmod_module_new_from_lookup() of
    kmod's libkmod/libkmod-module.c, version 30).
    """
    first: dict[str, ConfigurationLine] = {}  # modprobe runs the first install line
    for line in lines:
        if _is_about(line.words, module):
            first.setdefault(line.words[0], line)
        elif _is_about_an_alias(line.words, module, aliases):
            first.setdefault("alias", line)
    if not first:
        return None
    stand = "stands" if len(first) == 1 else "stand"
    remove = f"remove {' and '.join(map(_place, first.values()))}"
    by_hand = "" if "install" in first else f", or modprobe {module}"
    why = f"{' and '.join(map(_quoted, first.values()))} {stand} in the way"
    return Obstacle(why, remove + by_hand, _is_silent(first))


def _is_silent(first: dict[str, ConfigurationLine]) -> bool:
    """Is modprobe's exit status 0? For an alias it does not run the command of a blacklisted module; the result of any
    other command is unknown."""
    if "alias" in first:
        return _does_nothing(first["alias"])
    return "blacklist" in first or _does_nothing(first["install"])


def _does_nothing(line: ConfigurationLine) -> bool:
    return line.words[0] == "install" and line.words[2:] in _DO_NOTHING


def _is_about(words: tuple[str, ...], module: str) -> bool:
    if words[0] == "blacklist":
        return _underscored(words[1]) == module
    return words[0] == "install" and len(words) > 2 and fnmatch.fnmatchcase(module, _underscored(words[1]))


def _is_about_an_alias(words: tuple[str, ...], module: str, aliases: Collection[str]) -> bool:
    if len(words) < 3 or _underscored(words[1]) not in map(_underscored, aliases):
        return False
    return words[0] == "install" or (words[0] == "alias" and _underscored(words[2]) != module)


def _quoted(line: ConfigurationLine) -> str:
    text = " ".join(line.words)
    return f'"{text if len(text) <= _QUOTED else text[:_QUOTED] + "…"}" ({line.where})'


def _place(line: ConfigurationLine) -> str:
    file, _, number = line.where.rpartition(":")
    return f"line {number} of {file}" if file else line.where


def _underscored(name: str) -> str:
    """modprobe treats - and _ alike."""
    return name.replace("-", "_")


def _files(root: Path) -> list[Path]:
    named: dict[str, Path] = {}
    for folder in _FOLDERS:
        try:
            paths = list((root / folder).iterdir())
        except OSError:
            continue
        for path in paths:
            if path.suffix == ".conf" and not path.name.startswith("."):
                named.setdefault(path.name, path)
    return [named[name] for name in sorted(named)]


def _lines(root: Path, path: Path) -> Iterator[ConfigurationLine]:
    """The lines with a command and an argument; a backslash at the end continues a line."""
    number, rest = 1, ""
    for last, text in enumerate(_text(path).split("\n"), start=1):
        rest += text
        if text.endswith("\\"):
            rest = rest[:-1]
            continue
        words = tuple(rest.split())
        if len(words) > 1 and not rest.startswith("#"):
            yield ConfigurationLine(f"/{file_name(path.relative_to(root))}:{number}", words)
        number, rest = last + 1, ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace") if path.is_file() else ""
    except OSError:
        return ""
