"""Which sockets the user wants to see.

A filter is given several times, or once with commas: its values are alternatives, and a leading ``!`` takes one away. A
value matches if it is one of the positive ones, or there are none of them, and it is no negative one. Different filters
must all hold. What asks for the outcome (``--failed``, ``--errno``, ``--min-duration``, ``--module-requests``) lets an
incomplete trace pass where the outcome was not seen, since hiding it would hide a socket that may well be asked for.
"""

from __future__ import annotations

import difflib
import os
import pwd
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inetprobe import names, text
from inetprobe.duration import duration_text, parse_duration
from inetprobe.errors import UsageError
from inetprobe.record import (
    CALL_RETURNED,
    FUNCTION_REQUEST_MODULE,
    INCOMPLETE_FLAGS,
    Records,
    define,
    used_calls,
)
from inetprobe.run import Run

Mask = npt.NDArray[np.bool_]
#: What an option may hold: nothing, a flag, one text with commas, or several of them.
OptionValue = None | bool | str | Sequence[str]

_COMM_BYTES = define("INETPROBE_COMM") - 1
_U32 = (0, 2**32 - 1)
_S32 = (-(2**31), 2**31 - 1)
_ANY_INCOMPLETE = sum(INCOMPLETE_FLAGS)
_NETNS = re.compile(r"net:\[(\d+)\]", re.ASCII)


def is_glob(value: str) -> bool:
    """Is this value of ``--comm`` or ``--cgroup`` a shell pattern?"""
    return any(character in value for character in "*?[")


@dataclass(frozen=True, slots=True)
class Term:
    """The values of one filter: numbers, or for ``comm`` and ``cgroup`` texts."""

    include: frozenset[int | str] = frozenset()
    exclude: frozenset[int | str] = frozenset()

    def matches(self, test: Callable[[int | str], bool]) -> bool:
        """Does what ``test`` compares with a value match this term?"""
        wanted = not self.include or any(test(value) for value in self.include)
        return wanted and not any(test(value) for value in self.exclude)

    def among(self, numbers: npt.NDArray[np.int64]) -> Mask:
        """``matches`` for a column of numbers."""
        mask = np.ones(len(numbers), bool)
        if self.include:
            mask &= _is_one_of(numbers, self.include)
        if self.exclude:
            mask &= ~_is_one_of(numbers, self.exclude)
        return mask


@dataclass(frozen=True, slots=True)
class Filters:
    """All filters of a command line.

    ``terms`` holds only the filters that were given, by their option's name; errno values are positive numbers.
    ``all_families`` is ``--family all``: also show what else reaches sk_alloc.
    """

    terms: Mapping[str, Term] = field(default_factory=dict)
    failed: bool = False
    module_requests: bool = False
    min_duration_ns: int | None = None
    all_families: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, OptionValue]) -> Filters:
        """Filters from their options' names and texts, as in ``{"uid": ["!0"], "failed": True}``.

        Raises UsageError for an unknown name and for a value that cannot be understood.
        """
        given = {name.replace("_", "-"): value for name, value in options.items() if value not in (None, False, (), [], "")}
        unknown = sorted(set(given) - set(NAMES))
        if unknown:
            raise UsageError(f"unknown filter {unknown[0]!r}{_nearest(unknown[0], NAMES)}")
        terms = {name: _term(name, _values(given[name])) for name in PARSERS if name in given}
        family, all_families = _without_all(terms.pop("family", None))
        if family is not None:
            terms["family"] = family
        return cls(
            terms={name: terms[name] for name in PARSERS if name in terms},
            failed=_flag("failed", given),
            module_requests=_flag("module-requests", given),
            min_duration_ns=_min_duration(given.get("min-duration")),
            all_families=all_families,
        )

    def mask(self, records: Records, run: Run) -> Mask:
        """For each record whether it passes."""
        mask = np.ones(len(records), bool)
        for name, term in self.terms.items():
            mask &= _MASKS[name](term, records, run)
        first = records["calls"][:, 0]
        unseen = (first["flags"] & CALL_RETURNED) == 0
        if self.failed:
            mask &= unseen | (first["result"] != 0)
        if self.min_duration_ns is not None:
            mask &= unseen | (first["duration_ns"] >= np.uint64(self.min_duration_ns))
        if self.module_requests:
            asked = (records["calls"]["function"] == FUNCTION_REQUEST_MODULE) & used_calls(records)
            mask &= asked.any(axis=1) | ((records["flags"] & _ANY_INCOMPLETE) != 0)
        return mask

    def describe(self) -> tuple[str, ...]:
        """The filters in one canonical text each, as a recording keeps them: ``("family=AF_INET", "uid=!0")``."""
        texts = [f"{name}={_term_text(name, term)}" for name, term in self.terms.items()]
        texts += ["family=all"] if self.all_families else []
        texts += ["failed"] if self.failed else []
        texts += ["module-requests"] if self.module_requests else []
        texts += [f"min-duration={duration_text(self.min_duration_ns)}"] if self.min_duration_ns is not None else []
        return tuple(sorted(texts))


# Reading values. Each parser turns one text into a number or a text, or raises UsageError.


def _values(value: OptionValue) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
    return [part.strip() for whole in texts for part in whole.split(",")]


def _term(name: str, values: Iterable[str]) -> Term:
    include: set[int | str] = set()
    exclude: set[int | str] = set()
    for value in values:
        negated = value.startswith("!")
        bare = value[1:].strip() if negated else value
        if not bare:
            raise UsageError(f"--{name}: a value is empty")
        (exclude if negated else include).add(PARSERS[name](bare))
    return Term(frozenset(include), frozenset(exclude))


def _number(name: str, bounds: tuple[int, int]) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            return _within(name, value, int(value, 10), bounds)
        except ValueError:
            raise UsageError(f"--{name}: {value!r} is not a number") from None

    return parse


def _within(name: str, value: str, number: int, bounds: tuple[int, int]) -> int:
    if not bounds[0] <= number <= bounds[1]:
        raise UsageError(f"--{name}: {value} is not between {bounds[0]} and {bounds[1]}")
    return number


def _named(name: str, bounds: tuple[int, int]) -> Callable[[str], int]:
    return lambda value: _within(name, value, names.parse(name, value), bounds)


def _family(value: str) -> int | str:
    return "all" if value.lower() == "all" else _within("family", value, names.parse("family", value), (0, 2**15 - 1))


def _without_all(term: Term | None) -> tuple[Term | None, bool]:
    if term is None or "all" not in term.include | term.exclude:
        return term, False
    if "all" in term.exclude:
        raise UsageError("--family: !all would leave nothing")
    return (Term(exclude=term.exclude) if term.exclude else None), True


def _uid(value: str) -> int:
    if value.isdecimal():
        return _number("uid", _U32)(value)
    try:
        return pwd.getpwnam(value).pw_uid
    except KeyError:
        users = [entry.pw_name for entry in pwd.getpwall()]
        raise UsageError(f"--uid: there is no user {value!r}{_nearest(value, users)}") from None


def _netns(value: str) -> int:
    match = _NETNS.fullmatch(value)
    if match is not None or value.isdecimal():
        return _number("netns", _U32)(match[1] if match else value)
    if "/" not in value:
        raise UsageError(f"--netns: {value!r} is neither an inode number, net:[NUMBER] nor a path such as /proc/1/ns/net")
    try:
        return Path(value).stat().st_ino
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--netns: cannot look at {value}: {reason}") from None


def _as_text(value: str) -> str:
    """Arguments that were not UTF-8 carry surrogates: give them the look that names in traces have."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return text.decode(os.fsencode(value))
    return value


def _comm(value: str) -> str:
    # The kernel keeps 15 bytes of a name: a longer one is that prefix.
    value = _as_text(value)
    return value if is_glob(value) else text.decode(text.encode(value)[:_COMM_BYTES])


def _cgroup(value: str) -> str:
    value = _as_text(value)
    if not value.startswith(("/", "*")):
        raise UsageError(f"--cgroup: {value!r} is not a path below the cgroup mount such as /system.slice")
    return value.rstrip("/") or "/"


PARSERS: Mapping[str, Callable[[str], int | str]] = {
    "pid": _number("pid", _U32),
    "comm": _comm,
    "uid": _uid,
    "cgroup": _cgroup,
    "netns": _netns,
    "family": _family,
    "type": _named("type", (0, 2**15 - 1)),
    "protocol": _named("protocol", _S32),
    "errno": _named("errno", (0, 4095)),
}
NAMES: tuple[str, ...] = (*PARSERS, "failed", "module-requests", "min-duration")


def _flag(name: str, given: Mapping[str, OptionValue]) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"{name} is on or off, not {value!r}")
    return value


def _min_duration(value: OptionValue) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise UsageError(f"min-duration is a text such as '5ms', not {value!r}")
    return parse_duration(value)


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3)
    return ": did you mean " + " or ".join(close) + "?" if close else ""


def _term_text(name: str, term: Term) -> str:
    def value_text(value: int | str) -> str:
        return names.number_text(name, value) if isinstance(value, int) else value

    include = [value_text(value) for value in sorted(term.include, key=str)]
    return ",".join(include + [f"!{value_text(value)}" for value in sorted(term.exclude, key=str)])


# Deciding. Numbers are compared as columns; a text is decided once for each distinct one.


def _is_one_of(numbers: npt.NDArray[np.int64], values: Iterable[int | str]) -> Mask:
    return np.isin(numbers, np.array([int(value) for value in values], np.int64))


def _column_mask(name: str) -> Callable[[Term, Records, Run], Mask]:
    return lambda term, records, _: term.among(records[name].astype(np.int64))


def _errno_mask(term: Term, records: Records, _: Run) -> Mask:
    first = records["calls"][:, 0]
    unseen = (first["flags"] & CALL_RETURNED) == 0
    return unseen | term.among(-first["result"].astype(np.int64))


def _distinct_mask(column: npt.NDArray[np.generic], decide: Callable[[object], bool]) -> Mask:
    distinct, where = np.unique(column, return_inverse=True)
    decided = np.array([decide(value) for value in distinct.tolist()], bool)
    return decided[where] if len(distinct) else np.zeros(0, bool)


def _comm_mask(term: Term, records: Records, _: Run) -> Mask:
    def decide(raw: object) -> bool:
        assert isinstance(raw, bytes)
        comm = text.decode(raw.partition(b"\0")[0])
        return term.matches(lambda value: _glob(str(value))(comm) is not None if is_glob(str(value)) else comm == value)

    return _distinct_mask(records["comm"], decide)


def _cgroup_mask(term: Term, records: Records, run: Run) -> Mask:
    def decide(identity: object) -> bool:
        assert isinstance(identity, int)
        path = run.cgroups.get(identity)
        return term.matches(lambda value: path is not None and _is_below(path, str(value)))

    return _distinct_mask(records["cgroup_id"], decide)


def _is_below(path: str, value: str) -> bool:
    """Is the cgroup ``path`` the one called ``value``, or below it?"""
    if value == "/":
        return True
    if not is_glob(value):
        # The user copies a path from the file system, where a backslash is single.
        return any(path == form or path.startswith(f"{form}/") for form in (value, text.decode(value.encode())))
    matches = _glob(value)
    parts = path.split("/")
    return any(matches("/".join(parts[:end])) is not None for end in range(2, len(parts) + 1))


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(pattern)).match


_MASKS: Mapping[str, Callable[[Term, Records, Run], Mask]] = {
    **{name: _column_mask(name) for name in ("pid", "uid", "netns", "family", "type", "protocol")},
    "comm": _comm_mask,
    "cgroup": _cgroup_mask,
    "errno": _errno_mask,
}
