"""YAML files in which every key must be known: sections with a getter for each type of value.

Not msgspec, which says neither of which name a value is wrong (`$.basic_auth_users[...]`) nor what to give instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inetprobe.base.errors import UsageError
from inetprobe.base.text import printable
from inetprobe.base.words import did_you_mean, quoted, shortened

_MAX_BYTES = 1 << 20  # a web configuration has a few paths and hashes: a larger file is something else


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that is there twice is an error; the safe loader takes the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        # "!!set [a]" is no mapping, which the safe loader refuses.
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{quoted(key.value)} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> object:
    """The content of a YAML file as plain Python values.

    Raises UsageError, one sentence with the file and, if it is known, the line.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(text) > _MAX_BYTES:
        raise UsageError(f"{path} is larger than 1 MiB: that is not a web configuration")
    try:
        # A subclass of SafeLoader: it makes plain values only.
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: bad YAML: {printable(shortened(str(error.problem), 200))}") from None
    except (yaml.YAMLError, ValueError, RecursionError, ArithmeticError, LookupError, AttributeError) as error:
        # All but the first are PyYAML's for values such as !!bool x, !!timestamp x, or a date near the year 1.
        reason = printable(shortened(str(error).partition("\n")[0], 200))
        raise UsageError(f"{path} is not YAML: {reason}") from None


class Section:
    """A mapping in the file. ``where`` names it in errors, for example "web.yml: tls_server_config".

    Raises UsageError for keys that are not in ``keys``; ``unsupported`` maps keys that are known and refused to the
    reason. The methods return a key's value, or a default if it is missing, and raise UsageError for a wrong type.
    """

    def __init__(
        self, where: str, table: object, keys: tuple[str, ...], unsupported: Mapping[str, str] | None = None
    ) -> None:
        if table is not None and not isinstance(table, dict):
            raise UsageError(f"{where} is {_type_name(table)}: it must be keys with values, such as {keys[0]}: …")
        self.where = where
        self._table: dict[Any, Any] = table or {}
        for key in self._table:
            if key in (unsupported or {}):
                raise UsageError(f"{where}: {key} is not supported: {(unsupported or {})[key]}")
            if key not in keys:
                hint = did_you_mean(str(key), keys, f"the keys are {', '.join(keys)}")
                raise UsageError(f"{where}: unknown key {quoted(str(key))}: {hint}")

    def __bool__(self) -> bool:
        return bool(self._table)

    def raw(self, key: str) -> object:
        """The value of any type; None if it is missing."""
        return self._table.get(key)

    def text(self, key: str) -> str:
        """A string; "" if it is missing, as in the exporter-toolkit."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{self.where}: {key} is {_type_name(value)}: give a string (in quotes)")
        return value or ""

    def flag(self, key: str, default: bool) -> bool:
        """A boolean; ``default`` if it is missing."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"{self.where}: {key} is {_type_name(value)}: give true or false")
        return default if value is None else value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings; None if it is missing."""
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{self.where}: {key} is {_type_name(value)}: give a list of strings")
        return tuple(value)

    def pairs(self) -> dict[str, str]:
        """All keys with their values, which must be strings. Errors do not show a value: it may be a secret."""
        for key, value in self._table.items():
            if not isinstance(value, str):
                raise UsageError(
                    f"{self.where}: {printable(shortened(str(key)))} is {_type_name(value)}: give a string (in quotes)"
                )
        return dict(self._table)


def pairs(where: str, table: object) -> dict[str, str]:
    """A mapping of strings to strings with any keys. Raises UsageError, which never shows a value."""
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{where} is {_type_name(table)}: it must be names with values")
    names: dict[Any, Any] = table or {}
    for key in names:
        if not isinstance(key, str):
            raise UsageError(f"{where}: the name {quoted(str(key))} is {_type_name(key)}: put it in quotes")
    return Section(where, names, tuple(names) or ("",)).pairs()


def _type_name(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "empty"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
