"""Which sockets to show. Values of one filter are alternatives, different filters must all hold, ``!`` negates."""

from __future__ import annotations

import fnmatch
import pwd
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.base import text
from inetprobe.base.errors import UsageError
from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    IPPROTO_DCCP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    parse,
)
from inetprobe.base.words import quoted
from inetprobe.record.calls import used
from inetprobe.record.layout import (
    CALL_NULL,
    FUNCTION_REQUEST_MODULE,
    Mask,
    Records,
    define,
    has_returned,
    is_bare,
    is_incomplete,
)
from inetprobe.record.run import Run

_UNITS = {"": 10**9, "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|)")
_NETNS = re.compile(r"\Anet:\[([0-9]+)\]\Z")
#: Filters that compare the member of a record with the same name, an integer.
NUMBERS = ("pid", "uid", "netns", "family", "type", "protocol")
#: Filters of what a sock that no create made does not have: none of their values matches it.
UNKNOWN_OF_BARE = ("type", "protocol", "errno")
#: The protocol that protocol 0 stands for, by type, in AF_INET and AF_INET6: the first of inetsw that has one.
DEFAULT_PROTOCOL = {
    SOCK_STREAM: IPPROTO_TCP,
    SOCK_DGRAM: IPPROTO_UDP,
    SOCK_SEQPACKET: IPPROTO_SCTP,
    SOCK_DCCP: IPPROTO_DCCP,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One filter: a value passes if it is in ``include`` (or that is empty) and not in ``exclude``."""

    include: frozenset[int | str]
    exclude: frozenset[int | str]

    def passes(self, matches: Callable[[int | str], bool]) -> bool:
        """Does something pass that ``matches`` compares with each value?"""
        included = not self.include or any(matches(value) for value in self.include)
        return included and not any(matches(value) for value in self.exclude)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one command. ``terms`` has those that were given, by name."""

    terms: Mapping[str, Term] = field(default_factory=dict)
    failed: bool = False
    module_requests: bool = False
    min_duration_ns: int | None = None
    all_families: bool = False

    @property
    def beyond_inet(self) -> bool:
        """Do socks pass that neither inet_create nor inet6_create makes?"""
        families = self.terms["family"].include if "family" in self.terms else frozenset()
        return self.all_families or bool(families - {AF_INET, AF_INET6})

    @property
    def names_processes(self) -> bool:
        """Does --pid say which processes pass, not only which do not?"""
        return "pid" in self.terms and bool(self.terms["pid"].include)

    def mask(self, records: Records, run: Run) -> Mask:
        """Which records pass, ``[records]``. A filter on an outcome that a record lacks passes."""
        keep = np.ones(len(records), bool)
        bare = is_bare(records["flags"])
        for name in NUMBERS:
            if name in self.terms:
                columns = [records[name], *([_default_protocols(records)] if name == "protocol" else [])]
                passes = _numbers(columns, self.terms[name])
                keep &= np.where(bare, not self.terms[name].include, passes) if name in UNKNOWN_OF_BARE else passes
        if "comm" in self.terms:
            keep &= self._by_value(records["comm"], _comm_of, "comm")
        if "cgroup" in self.terms:
            keep &= self._by_value(records["cgroup_id"], lambda identity: run.cgroups.get(identity) or "", "cgroup")
        return keep & self._outcome(records)

    def describe(self) -> tuple[str, ...]:
        """Each filter in a canonical form, for a recording's metadata."""
        parts = []
        for name, term in sorted(self.terms.items()):
            include, exclude = (
                sorted(text.file_name(str(value)) for value in side) for side in (term.include, term.exclude)
            )
            values = [*include, *(f"!{value}" for value in exclude)]
            parts.append(f"{name}={','.join(values)}")
        parts += ["family=all"] * self.all_families
        parts += ["failed"] * self.failed + ["module-requests"] * self.module_requests
        if self.min_duration_ns is not None:
            parts.append(f"min-duration={self.min_duration_ns}ns")
        return tuple(parts)

    def _by_value(self, column: npt.NDArray[np.void], name_of: Callable[[Any], str], filter_name: str) -> Mask:
        values, inverse = np.unique(column, return_inverse=True)
        match = _same_comm if filter_name == "comm" else _in_cgroup
        term = self.terms[filter_name]
        passes = np.zeros(len(values), np.bool_)
        for index, value in enumerate(values.tolist()):
            passes[index] = term.passes(partial(match, name_of(value)))
        mask: Mask = passes[inverse]
        return mask

    def _outcome(self, records: Records) -> Mask:
        outermost = records["calls"][:, 0]
        unseen = ~has_returned(outermost["flags"])
        keep = np.ones(len(records), bool)
        if self.failed:
            keep &= unseen | (outermost["result"] != 0) | ((outermost["flags"] & CALL_NULL) != 0)
        if "errno" in self.terms:
            bare = is_bare(records["flags"])
            passes = _numbers([-outermost["result"]], self.terms["errno"])
            keep &= unseen | np.where(bare, not self.terms["errno"].include, passes)
        if self.min_duration_ns is not None:
            keep &= unseen | (outermost["duration_ns"] >= self.min_duration_ns)
        if self.module_requests:
            asked = used(records) & (records["calls"]["function"] == FUNCTION_REQUEST_MODULE)
            keep &= unseen | is_incomplete(records["flags"]) | asked.any(axis=1)
        return keep


def build(
    values: Mapping[str, Iterable[str]],
    *,
    failed: bool = False,
    module_requests: bool = False,
    min_duration: str | None = None,
) -> Filters:
    """Filters from the words of a command line, by filter name. Raises UsageError for an invalid value."""
    terms = {}
    all_families = False
    for name, words in values.items():
        flat = [word.strip() for given in words for word in given.split(",")]
        if name == "family" and any(word.lower() == "all" for word in flat):
            all_families = True
            flat = [word for word in flat if word.startswith("!")]
        if flat:
            include = frozenset(_value(name, word) for word in flat if not word.startswith("!"))
            exclude = frozenset(_value(name, word[1:]) for word in flat if word.startswith("!"))
            terms[name] = Term(include, exclude)
    least = None if min_duration is None else parse_duration(min_duration)
    return Filters(terms, failed, module_requests, least, all_families)


def parse_duration(word: str) -> int:
    """Nanoseconds of ``5ms``, ``1.5s``, ``250ns``; a bare number is seconds. Raises UsageError."""
    match = _DURATION.fullmatch(word.strip())
    if match is None:
        raise UsageError(f"{quoted(word)} is not a duration: give a number with ns, us, ms, s or m, such as 5ms")
    ns = float(match[1]) * _UNITS[match[2]]
    if ns >= 1 << 63:
        raise UsageError(f"the duration {word[:20]}… is too long: 292 years is the most")
    return round(ns)


def is_glob(word: str) -> bool:
    """Is the word a shell pattern rather than a name?"""
    return any(char in word for char in "*?[")


def _value(name: str, word: str) -> int | str:
    word = word.strip()
    if not word:
        raise UsageError(f"--{name}: an empty value: give one, or leave the filter out")
    if name == "comm":
        word = text.file_name(word)  # a byte that is not UTF-8 as records have it
        # The kernel keeps as much.
        return word if is_glob(word) else text.decode(text.encode(word)[: define("INETPROBE_COMM") - 1])
    if name == "cgroup":
        return word
    if name in ("family", "type", "protocol", "errno"):
        return parse(name, word)
    if name == "uid" and not _is_number(word):
        return _uid(word)
    if name == "netns":
        word = _NETNS.sub(r"\1", word)
        if not _is_number(word):
            return _inode(word)
    # At most ten digits: Python itself refuses to parse thousands of them.
    if not _is_number(word) or len(word) > 10 or int(word) >= 1 << 32:
        raise UsageError(f"--{name}: {word[:40]!r} is not a number below 2^32")
    return int(word)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # the latter for a NUL
        raise UsageError(f"--uid: {quoted(name)} is neither a number nor a user of this machine") from None


def _inode(path: str) -> int:
    try:
        return Path(path).stat().st_ino
    except (OSError, ValueError) as error:  # the latter for a NUL
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--netns: {quoted(path)}: {reason}: give an inode number, net:[…] or a path such as /proc/PID/ns/net"
        ) from None


def _default_protocols(records: Records) -> npt.NDArray[np.int32]:
    """The protocol that each record asked for, also where it asked with 0."""
    asked: npt.NDArray[np.int32] = records["protocol"]
    open_ = (asked == 0) & np.isin(records["family"], (AF_INET, AF_INET6))
    of_type = np.array([DEFAULT_PROTOCOL.get(type_, 0) for type_ in range(max(DEFAULT_PROTOCOL) + 1)], np.int32)
    known = open_ & (records["type"] >= 0) & (records["type"] < len(of_type))
    return np.where(known, of_type[np.where(known, records["type"], 0)], asked)


def _numbers(columns: Sequence[npt.NDArray[Any]], term: Term) -> Mask:
    """Which rows pass? A row has the values of all ``columns``."""

    def one_of(values: frozenset[int | str]) -> Mask:
        found = [np.isin(column.astype(np.int64), [int(value) for value in values]) for column in columns]
        mask: Mask = np.logical_or.reduce(found)
        return mask

    keep = one_of(term.include) if term.include else np.ones(len(columns[0]), bool)
    return keep & ~one_of(term.exclude) if term.exclude else keep


def _comm_of(raw: bytes) -> str:
    return text.until_nul(raw)


def _same_comm(comm: str, wanted: int | str) -> bool:
    wanted = str(wanted)
    return fnmatch.fnmatchcase(comm, wanted) if is_glob(wanted) else comm == wanted


# Cached: a recording may give a long path to any number of cgroups.
@lru_cache(maxsize=4096)
def _in_cgroup(path: str, wanted: int | str) -> bool:
    """Is the cgroup the wanted one, or below it?"""
    wanted = "/" + text.file_name(str(wanted)).strip("/")
    if not is_glob(wanted):
        return wanted == "/" or path == wanted or path.startswith(wanted + "/")
    parents = (path[:i] for i in range(1, len(path) + 1) if path[i : i + 1] in ("/", ""))
    return any(fnmatch.fnmatchcase(parent, wanted) for parent in parents)
