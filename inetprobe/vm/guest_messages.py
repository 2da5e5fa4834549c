"""The guest's messages on the control port, as the host reads them: root in the guest can send any bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 1 << 12
"""Bytes of the longest line; the agent's have less than a hundred."""
_MOST_BYTES = 1 << 62
_SHOWN = 40


class Booted(NamedTuple):
    """The guest runs Linux ``release``, and the command now starts."""

    release: str


class Ended(NamedTuple):
    """The command has ended with ``status`` (0 to 255) and has written this many bytes to each output."""

    status: int
    stdout: int
    stderr: int


Message = Booted | Ended


class MessageError(Exception):
    """The guest sent what is no message, or none that can be next."""


class MessageReader:
    """Makes messages of the bytes as they come: ``Booted``, then ``Ended``, each once."""

    def __init__(self) -> None:
        self._rest = b""
        self._expected: list[type[Message]] = [Booted, Ended]

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that ``data`` completes. Raises MessageError; the reader is then of no further use."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in (*lines, self._rest):
            if len(line) > LONGEST:
                raise MessageError(f"a line of over {LONGEST:,} bytes")
        for line in lines:
            message = _message(line)
            if not self._expected or type(message) is not self._expected.pop(0):
                raise MessageError(f"out of turn: {_shown(line)}")
            yield message


def _message(line: bytes) -> Message:
    """The message on a line of JSON. Raises MessageError."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise MessageError(f"no JSON: {_shown(line)}") from None
    match content:
        case {"booted": str(release)}:
            return Booted(release)
        case {"exit": status, "stdout": stdout, "stderr": stderr} if (
            _counts(status, 255) and _counts(stdout, _MOST_BYTES) and _counts(stderr, _MOST_BYTES)
        ):
            return Ended(status, stdout, stderr)
    raise MessageError(f"unknown: {_shown(line)}")


def _counts(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _shown(line: bytes) -> str:
    return f"{line[:_SHOWN]!r}" + ("…" if len(line) > _SHOWN else "")
