"""Which records of a batch went the same way: of a million sockets only a few dozen differ but in times and names.

What depends on nothing else, a verdict for one, is worked out once for each of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inetprobe.calls import Calls, Places

Words = npt.NDArray[np.uint64]


class Groups(NamedTuple):
    """``first`` is the place of the first row of each group, in the rows' order; ``of`` is each row's group, and
    ``counts`` how many rows a group has."""

    first: Places
    of: Places
    counts: Places


def alike(words: Sequence[Words]) -> Groups:
    """The rows that are equal in all ``words``, which are columns of one length.

    By a hash table without a sort: the first row in each slot of the table leads, every row is compared with the one
    that leads its slot, and those that differ go through it again.
    """
    rows = np.arange(len(words[0]))
    if not len(rows):
        return Groups(rows, rows, rows)
    bits = min(len(rows).bit_length(), _MOST_BITS)
    slots = _slots(words, bits)
    leader = np.empty(len(rows), np.intp)
    table = np.empty(1 << bits, np.intp)
    pending = rows
    while len(pending):
        slot = slots[pending]
        table[slot[::-1]] = pending[::-1]  # the last one put in stays: the first of all
        lead = table[slot]
        same = np.ones(len(pending), bool)
        for word in words:
            same &= word[pending] == word[lead]
        leader[pending[same]] = lead[same]
        pending = pending[~same]
    first = np.flatnonzero(leader == rows)
    number = np.empty(len(rows), np.intp)
    number[first] = np.arange(len(first))
    of = number[leader]
    return Groups(first, of, np.bincount(of))


_MOST_BITS = 16


def _slots(words: Sequence[Words], bits: int) -> Places:
    mixed = np.zeros(len(words[0]), np.uint64)
    for place, word in enumerate(words):
        mixed += word * _multiplier(place)
    result: Places = (mixed >> np.uint64(64 - bits)).astype(np.intp)
    return result


@cache
def _multiplier(place: int) -> np.uint64:
    # Odd, and not known to who makes up a recording in which everything would share a slot.
    return np.uint64(secrets.randbits(64) | 1)


def words_of(column: npt.NDArray[Any]) -> list[Words]:
    """A column of any type as words: rows are equal where all of theirs are. Names, and structs without padding."""
    size = column.dtype.itemsize
    if column.dtype.kind in "iu":
        return [column.astype(np.uint64)]
    assert size % 8 == 0
    matrix = np.ascontiguousarray(column).view(np.uint64).reshape(len(column), size // 8)
    return [matrix[:, word] for word in range(size // 8)]


def call_words(calls: Calls) -> list[Words]:
    """All of each record's calls but their times, as words of the records."""
    # Sign extension is harmless where a number stands highest, so 16 bits come last but one.
    went = calls.result.astype(np.uint64) << np.uint64(32)
    for name, shift in (("function", 0), ("depth", 8), ("flags", 16), ("module", 24)):
        went |= getattr(calls, name).astype(np.uint64) << np.uint64(shift)
    columns = [went]
    if calls.module.any():
        asked = calls.module_protocol.astype(np.uint64) << np.uint64(32)
        asked |= calls.module_family.astype(np.uint16).astype(np.uint64) << np.uint64(16)
        columns.append(asked | calls.module_type.astype(np.uint16).astype(np.uint64))
    words = []
    for slot in range(int(calls.counts.max(initial=0))):
        rows = np.flatnonzero(calls.counts > slot)
        for column in columns:
            word = np.zeros(len(calls.counts), np.uint64)
            word[rows] = column[calls.starts[rows] + slot]
            words.append(word)
    return words
