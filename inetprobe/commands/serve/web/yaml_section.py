"""YAML of which every key must be known: a file is read into sections whose values are asked for by type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from inetprobe.base.errors import UsageError
from inetprobe.base.text import printable
from inetprobe.base.words import did_you_mean

_MOST_BYTES = 1 << 20  # a certificate's path is a few dozen bytes: what is larger is another file


class _Loader(yaml.SafeLoader):
    """The safe loader, which would let a key's second value replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> object:
    """What the YAML file holds. Raises UsageError: one sentence with the file and, where known, the line."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(text) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than 1 MiB: that is no web configuration")
    try:
        # A subclass of SafeLoader: it makes plain values only.
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not YAML as it is expected: {printable(str(error.problem))}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise UsageError(f"{path} is not YAML: {reason}") from None


class Section:
    """A mapping of the file; ``where`` names it in errors, "web.yml: tls_server_config" for one.

    Raises UsageError for keys that are not among ``keys``, with the reason for those that are in ``unsupported``. Its
    methods give a key's value, or what stands for a missing one, and raise UsageError where the type is wrong.
    """

    def __init__(
        self, where: str, table: object, keys: tuple[str, ...], unsupported: Mapping[str, str] | None = None
    ) -> None:
        if table is not None and not isinstance(table, dict):
            raise UsageError(f"{where} is {_kind(table)}: it must be keys with values, {keys[0]}: … for one")
        self.where = where
        self._table: dict[Any, Any] = table or {}
        for key in self._table:
            if key in (unsupported or {}):
                raise UsageError(f"{where}: {key} is not supported: {(unsupported or {})[key]}")
            if key not in keys:
                hint = did_you_mean(str(key), keys, f"there is {', '.join(keys)}")
                raise UsageError(f"{where}: unknown key {str(key)[:60]!r}: {hint}")

    def __bool__(self) -> bool:
        return bool(self._table)

    def raw(self, key: str) -> object:
        """The value as YAML has it, None if it is missing."""
        return self._table.get(key)

    def text(self, key: str) -> str:
        """A string; "" if it is missing, as in the exporter-toolkit."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{self.where}: {key} is {_kind(value)}: give a string (in quotes)")
        return value or ""

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, bool):
            raise UsageError(f"{self.where}: {key} is {_kind(value)}: give true or false")
        return default if value is None else value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings, None if it is missing."""
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"{self.where}: {key} is {_kind(value)}: give a list of strings")
        return tuple(value)

    def pairs(self) -> dict[str, str]:
        """Every key and its value, all of them strings. Raises UsageError without the value, which may be a secret."""
        for key, value in self._table.items():
            if not isinstance(value, str):
                raise UsageError(f"{self.where}: {printable(str(key))} is {_kind(value)}: give a string (in quotes)")
        return dict(self._table)


def pairs(where: str, table: object) -> dict[str, str]:
    """A mapping of strings whose keys are anybody's choice. Raises UsageError, never with a value."""
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{where} is {_kind(table)}: it must be names with values")
    names: dict[Any, Any] = table or {}
    for key in names:
        if not isinstance(key, str):
            raise UsageError(f"{where}: the name {str(key)[:60]!r} is {_kind(key)}: put it in quotes")
    return Section(where, names, tuple(names) or ("",)).pairs()


def _kind(value: object) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "empty"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
