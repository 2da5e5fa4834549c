"""``budget.toml``: limits for the sockets of a recording.

::

    [[budget]]
    name = "no autoload by users"
    where = { uid = "!0" }              # any filter of the command line
    max_module_requests = 0             # also: max_failures, forbid_errno, max_duration, p50, p90, p95, p99

Not msgspec: its types in place of these checks came to as many lines, and its messages with what to give to 66 more.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from inetprobe.base.errors import UsageError
from inetprobe.base.text import printable
from inetprobe.base.uapi import parse
from inetprobe.base.words import did_you_mean, quoted, shortened
from inetprobe.record.filter import Filters, build, parse_duration

T = TypeVar("T")

_WORDS = ("pid", "comm", "uid", "cgroup", "netns", "family", "type", "protocol", "errno")
_FLAGS = ("failed", "module_requests")
_FILTERS = (*_WORDS, *_FLAGS, "min_duration")
_QUANTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}
_LIMITS = ("max_module_requests", "max_failures", "forbid_errno", "max_duration", *_QUANTILES)
_KEYS = ("name", "where", *_LIMITS)


@dataclass(frozen=True, slots=True)
class Quantile:
    """At least ``percent`` % of the calls of ``function`` take at most ``at_most_ns`` nanoseconds."""

    percent: int
    function: str
    at_most_ns: int


@dataclass(frozen=True, slots=True)
class Budget:
    """One ``[[budget]]``: limits for the sockets that pass ``where``; a limit that is not given is None or empty."""

    name: str
    where: Filters = field(default_factory=Filters)
    max_module_requests: int | None = None
    max_failures: int | None = None
    forbid_errno: frozenset[int] = frozenset()
    max_duration_ns: int | None = None
    quantiles: tuple[Quantile, ...] = ()


def load(path: Path) -> tuple[Budget, ...]:
    """The budgets of a file. Raises UsageError that names the file, the key and its allowed values."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"the budget {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {printable(shortened(str(error), 200))}") from None
    _demand_known(str(path), tables, ("budget",))
    given = tables.get("budget")
    if not isinstance(given, list) or not given or not all(isinstance(table, dict) for table in given):
        raise UsageError(f"{path} has no budget: begin each with a line [[budget]]")
    budgets = tuple(_budget(f"{path}: budget {number}", table) for number, table in enumerate(given, 1))
    names = [budget.name for budget in budgets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two budgets have the name {quoted(name)}: rename one")
    return budgets


def _budget(where: str, table: Mapping[str, Any]) -> Budget:
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        _refuse(where, "name", name, 'a string, such as name = "no autoload by users"')
    here = f"{where} ({printable(shortened(name))})"
    _demand_known(here, table, _KEYS)
    if not any(limit in table for limit in _LIMITS):
        raise UsageError(f"{here} limits nothing: give one of {', '.join(_LIMITS)}")
    return Budget(
        name=name,
        where=_where(here, table.get("where", {})),
        max_module_requests=_number(here, table, "max_module_requests"),
        max_failures=_number(here, table, "max_failures"),
        forbid_errno=_errnos(here, table.get("forbid_errno", ())),
        max_duration_ns=_duration(here, "max_duration", table["max_duration"]) if "max_duration" in table else None,
        quantiles=tuple(_quantile(here, key, table[key]) for key in _QUANTILES if key in table),
    )


def _where(here: str, table: object) -> Filters:
    if not isinstance(table, dict):
        _refuse(here, "where", table, 'filters by name, such as { uid = "!0" }')
    given = {str(key).replace("-", "_"): value for key, value in table.items()}
    _demand_known(f"{here}: where", given, _FILTERS)
    words = {name: _filter_words(here, name, given[name]) for name in _WORDS if name in given}
    for name in _FLAGS:
        if not isinstance(given.get(name, False), bool):
            _refuse(here, f"where.{name}", given[name], "true or false")
    least = given.get("min_duration")
    if least is not None:
        _duration(here, "where.min_duration", least)
    return build(
        words,
        failed=given.get("failed", False),
        module_requests=given.get("module_requests", False),
        min_duration=least,
    )


def _filter_words(here: str, name: str, value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) or (type(one) is int and one.bit_length() <= 64) for one in values):
        _refuse(here, f"where.{name}", value, "a number, a string as on the command line, or a list of them")
    words = [str(one) for one in values]
    _understood(f"{here}: where.{name}", lambda: build({name: words}), f"--{name}: ")
    return words


def _number(here: str, table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    if value is not None and (type(value) is not int or value < 0):
        _refuse(here, key, value, "a whole number of at least 0")
    return value


def _errnos(here: str, value: object) -> frozenset[int]:
    if value == ():
        return frozenset()
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        _refuse(here, "forbid_errno", value, 'a list of names, such as ["EPERM"]')
    return frozenset(_understood(f"{here}: forbid_errno", partial(parse, "errno", one)) for one in value)


def _duration(here: str, key: str, value: object) -> int:
    if not isinstance(value, str):
        _refuse(here, key, value, 'a duration in quotes, such as "5ms"')
    return _understood(f"{here}: {key}", lambda: parse_duration(value))


def _quantile(here: str, key: str, table: object) -> Quantile:
    keys = ("function", "at_most")
    if not isinstance(table, dict):
        _refuse(here, key, table, '{ function = "inet_create", at_most = "50us" }')
    _demand_known(f"{here}: {key}", table, keys)
    function = table.get("function")
    if not isinstance(function, str) or not function:
        _refuse(here, f"{key}.function", function, 'a kernel function that is traced, such as "inet_create"')
    return Quantile(_QUANTILES[key], function, _duration(here, f"{key}.at_most", table.get("at_most")))


def _understood(where: str, read: Callable[[], T], prefix: str = "") -> T:
    """The result of ``read``; its UsageError gets ``where``, the place in the file, in front."""
    try:
        return read()
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).removeprefix(prefix)}") from None


def _demand_known(where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    allowed = tuple(keys)
    for key in table:
        if key not in allowed:
            hint = did_you_mean(key, allowed, f"there is {', '.join(allowed)}")
            raise UsageError(f"{where}: unknown key {quoted(key)}: {hint}")


def _refuse(where: str, key: str, value: object, allowed: str) -> NoReturn:
    problem = f"{key} is missing" if value is None else f"{key} is {quoted(value)}"
    raise UsageError(f"{where}: {problem}: give {allowed}")
