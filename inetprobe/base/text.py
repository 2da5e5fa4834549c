"""Untrusted bytes as text: lossless for data, harmless for a terminal.

A ``comm`` is any 15 bytes. ``decode`` keeps valid UTF-8, doubles a backslash and writes every other
byte as ``\\xNN``, so that two different names never look the same; ``encode`` is its exact inverse. ``printable``
goes further for a terminal: nothing that moves the cursor, changes colour or reorders text survives.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")
_HALVES = re.compile("[\ud800-\udfff]")


@lru_cache(maxsize=8192)
def decode(raw: bytes) -> str:
    """``raw`` as text; invalid UTF-8 as ``\\xNN``, a backslash as two. Never fails."""
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def until_nul(raw: bytes) -> str:
    """A C string in a field that may go on after it."""
    return decode(raw.partition(b"\0")[0])


def encode(text: str) -> bytes:
    """The bytes that ``decode`` was given."""
    parts: list[bytes] = []
    last = 0
    for match in _ESCAPED.finditer(text):
        parts.append(text[last : match.start()].encode("utf-8"))
        code = match[1]
        parts.append(b"\\" if code == "\\" else bytes([int(code[1:], 16)]))
        last = match.end()
    parts.append(text[last:].encode("utf-8"))
    return b"".join(parts)


@lru_cache(maxsize=8192)
def printable(text: str) -> str:
    """``text`` with every character that is not plainly visible as ``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    # \x80 and above stand for a byte that was not UTF-8 (see decode), so those characters take the \u form.
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def encodable(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: JSON, for one, may have halves of surrogate pairs."""
    return _HALVES.search(text) is None


def file_name(path: str | os.PathLike[str]) -> str:
    """The path as text that can be encoded: a byte that is not UTF-8 as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
