"""The part of the user's filters that the kernel can decide, as C expressions for bpf/inetprobe.bpf.c.

Every filter is applied again to the records, which also decides the rest (globs, for example): the kernel may pass more
records than the user wants, never fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from inetprobe.base.errors import UsageError
from inetprobe.base.text import encode
from inetprobe.base.words import quoted
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.record.filter import DEFAULT_PROTOCOL, UNKNOWN_OF_BARE, Filters, Term, is_glob
from inetprobe.record.layout import define

_RETURNED = "(outermost->flags & CALL_RETURNED)"
_INCOMPLETE = "(t->flags & (RECORD_RETURN_MISSED | RECORD_ENTRY_MISSED | RECORD_TRUNCATED))"
_THREAD_NUMBERS = {"pid": "WHO_PID", "uid": "WHO_UID", "netns": "WHO_NETNS"}
_REQUEST_NUMBERS = {"family": "t->family", "type": "t->type", "protocol": "t->protocol"}


def cgroup_paths(filters: Filters) -> tuple[str, ...]:
    """The cgroups that the kernel decides, by their index in the map ``cgroups``."""
    term = filters.terms.get("cgroup", Term(frozenset(), frozenset()))
    names = sorted(map(str, {*term.include, *term.exclude}))
    return tuple(name for name in names if not is_glob(name))


def cgroup_folders(filters: Filters, cgroups: Cgroups) -> tuple[Path, ...]:
    """The folders of ``cgroup_paths``. Raises UsageError for a cgroup that does not exist."""
    return tuple(_folder(path, cgroups) for path in cgroup_paths(filters))


def constants(filters: Filters, *, follow: bool) -> dict[str, str]:
    """KEEP_WHO (decided at entry) and KEEP_WHAT (decided at return), each only if a filter needs it."""
    at_entry = ["WHO_FOLLOWED"] if follow else []
    at_entry += [
        _numbers(source, filters.terms[name]) for name, source in _THREAD_NUMBERS.items() if name in filters.terms
    ]
    if "comm" in filters.terms:
        at_entry += _names(filters.terms["comm"], _comm)
    if "cgroup" in filters.terms:
        at_entry += _names(filters.terms["cgroup"], lambda path: f"WHO_CGROUP({cgroup_paths(filters).index(path)})")

    at_return = [_request(name, source, filters.terms[name]) for name, source in _REQUEST_NUMBERS.items()
            if name in filters.terms]  # fmt: skip
    if "errno" in filters.terms:
        at_return.append(f"(!{_RETURNED} || {_request('errno', '-outermost->result', filters.terms['errno'])})")
    if filters.failed:
        at_return.append(f"(!{_RETURNED} || outermost->result || outermost->flags & CALL_NULL)")
    if filters.module_requests:
        at_return.append(f"(t->modules || {_INCOMPLETE})")
    if filters.min_duration_ns is not None:
        at_return.append(f"(!{_RETURNED} || outermost->duration_ns >= {filters.min_duration_ns}ULL)")

    asks_netns = {"KEEP_NETNS": "1"} if "netns" in filters.terms else {}
    clauses = {"KEEP_WHO": at_entry, "KEEP_WHAT": at_return}
    return asks_netns | {name: " && ".join(parts) for name, parts in clauses.items() if parts}


def _request(name: str, source: str, term: Term) -> str:
    test = _protocol(term) if name == "protocol" else _numbers(source, term)
    if name not in UNKNOWN_OF_BARE:
        return test
    return f"(t->flags & RECORD_BARE ? {int(not term.include)} : {test})"


def _numbers(source: str, term: Term) -> str:
    """``source`` is read once, then compared with each value of a term of integers."""
    return f"({{ s64 v = {source}; {_alternatives(term, lambda value: f'v == {value}LL')}; }})"


def _protocol(term: Term) -> str:
    """A protocol also passes where it was asked for with 0."""
    default = "".join(f"t->type == {type_} ? {protocol} : " for type_, protocol in DEFAULT_PROTOCOL.items())
    inet = "t->family == AF_INET || t->family == AF_INET6"
    test = _alternatives(term, lambda value: f"v == {value}LL || d == {value}LL")
    return f"({{ s64 v = t->protocol, d = v || !({inet}) ? v : {default}v; {test}; }})"


def _alternatives(term: Term, test: Callable[[int], str]) -> str:
    parts = []
    if term.include:
        parts.append("(" + " || ".join(test(int(value)) for value in sorted(term.include)) + ")")
    parts += [f"!({test(int(value))})" for value in sorted(term.exclude)]
    return " && ".join(parts)


def _names(term: Term, test: Callable[[str], str]) -> list[str]:
    """Clauses for a term of names; a side with a glob in it is left to the records."""
    clauses = []
    if term.include and not _any_glob(term.include):
        clauses.append("(" + " || ".join(test(str(name)) for name in sorted(term.include, key=str)) + ")")
    clauses += [f"!({test(str(name))})" for name in sorted(term.exclude, key=str) if not is_glob(str(name))]
    return clauses


def _any_glob(names: Iterable[object]) -> bool:
    return any(is_glob(str(name)) for name in names)


def _comm(name: str) -> str:
    size = define("INETPROBE_COMM")
    raw = encode(name)[: size - 1].ljust(size, b"\0")
    low, high = (int.from_bytes(raw[i : i + 8], "little") for i in (0, 8))
    return f"WHO_COMM({low:#x}ULL, {high:#x}ULL)"


def _folder(path: str, cgroups: Cgroups) -> Path:
    folder = cgroups.folder(path)
    if folder is None:
        raise UsageError(f"no cgroup {quoted(path)} below {cgroups.root}: give a path such as /system.slice")
    return folder
