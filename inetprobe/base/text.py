"""Untrusted bytes as text: lossless for data, harmless for a terminal.

A ``comm`` is any 15 bytes. ``decode`` keeps valid UTF-8, doubles a backslash and writes every other
byte as ``\\xNN``, so that two different names are never the same text; ``encode`` is its exact inverse. ``printable``
goes further for a terminal: nothing that moves the cursor, changes colour, reorders text or is invisible survives.
Letters that are written from left to right stay, also where two scripts have one look, as Cyrillic and Latin a.
"""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache

_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2})")
_HALVES = re.compile("[\ud800-\udfff]")
# Those of Unicode's Default_Ignorable_Code_Point that Python calls printable, and the blank of Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# From right to left, and Arabic digits: a terminal shows them, and the digits and signs around them, in another order.
_REORDERED = frozenset({"R", "AL", "AN"})


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
    """``text`` with every character that is not plainly visible, or not in its place, as ``\\xNN``, ``\\uNNNN`` or
    ``\\UNNNNNNNN``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if is_plain(c) else _escape(ord(c)) for c in text)


def is_plain(character: str) -> bool:
    """Is the character visible, and shown where it stands?"""
    return (
        character.isprintable()
        and _INVISIBLE.match(character) is None
        and unicodedata.bidirectional(character) not in _REORDERED
    )


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
