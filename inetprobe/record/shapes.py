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

from inetprobe.record.calls import Calls, Indices

Words = npt.NDArray[np.unsignedinteger[Any]]


class Groups(NamedTuple):
    """Rows in groups: ``first`` is the first row of each group, ascending, and ``counts`` the number of its rows, both
    ``[groups]``; ``group_of`` is the group of each row, ``[rows]``."""

    first: Indices
    group_of: Indices
    counts: Indices


class Names(NamedTuple):
    """A column of names: row i's is ``values[places[i]]``. Equal places are equal names."""

    values: npt.NDArray[np.bytes_]
    places: npt.NDArray[np.signedinteger[Any]]


def alike(words: Sequence[Words]) -> Groups:
    """The rows that are equal in all ``words``, which are columns of one length, of up to 64 bits.

    By a hash table without a sort: the first row in each slot of the table leads, every row is compared with the one
    that leads its slot, and those that differ go through it again.
    """
    rows = np.arange(len(words[0]))
    if not len(rows):
        return Groups(rows, rows, rows)
    bits = min(len(rows).bit_length(), _MOST_BITS)
    table = np.empty(1 << bits, np.intp)
    slot = _slots(words, bits)
    leader = rows.copy()
    pending, own = rows, words
    while len(pending):
        table[slot[::-1]] = pending[::-1]  # the last one put in stays: the first of all
        lead = table.take(slot)
        same = np.ones(len(pending), bool)
        for word, mine in zip(words, own, strict=True):
            same &= word.take(lead) == mine
        leader[pending] = lead  # of those that differ, not for long
        rest = np.flatnonzero(~same)
        pending, slot, own = pending[rest], slot[rest], [word[rest] for word in own]
    first = np.flatnonzero(leader == rows)
    number = np.empty(len(rows), np.intp)
    number[first] = np.arange(len(first))
    group_of = number.take(leader)
    return Groups(first, group_of, np.bincount(group_of))


_MOST_BITS = 16


def _slots(words: Sequence[Words], bits: int) -> Indices:
    mixed = np.zeros(len(words[0]), np.uint64)
    for place, word in enumerate(words):
        mixed += word * _multiplier(place)
    result: Indices = (mixed >> np.uint64(64 - bits)).astype(np.intp)
    return result


@cache
def _multiplier(place: int) -> np.uint64:
    # Odd, and not known to who makes up a recording in which everything would share a slot.
    return np.uint64(secrets.randbits(64) | 1)


def words_of(column: npt.NDArray[Any]) -> list[Words]:
    """Rows of integers, of names, or of structs without padding, as words: rows are equal where all of theirs are."""
    if column.dtype.kind in "iu":
        return [column.view(f"u{column.dtype.itemsize}")]
    count, rest = divmod(column.dtype.itemsize, 8)
    assert not rest
    matrix = np.ascontiguousarray(column).view(np.uint64).reshape(len(column), count)
    return [matrix[:, place] for place in range(count)]


def grouped(*columns: npt.NDArray[Any]) -> Groups:
    """The rows that are ``alike`` in all columns, each of them of what ``words_of`` takes."""
    return alike([word for column in columns for word in words_of(column)])


def names_of(column: npt.NDArray[np.bytes_]) -> Names:
    """The distinct names of a column."""
    groups = grouped(column)
    return Names(column[groups.first], groups.group_of)


def packed(*columns: tuple[npt.NDArray[Any], int]) -> Words:
    """Integers side by side in a word: each column with its width in bits, 64 together at most; the highest first."""
    word = np.zeros(len(columns[0][0]), np.uint64)
    for column, bits in columns:
        word <<= np.uint64(bits)
        # Through the unsigned type of its size, since a sign would reach over what is already there.
        word |= column.view(f"u{column.dtype.itemsize}")
    return word


def call_words(calls: Calls) -> list[Words]:
    """All of each record's calls but their times, as words of the records: one for each place of a call."""
    slots = int(calls.counts.max(initial=0))
    codes = np.zeros(len(calls.flags) + slots, np.uint32)
    codes[: len(calls.flags)] = calls.function.astype(np.uint32) << np.uint32(16)
    codes[: len(calls.flags)] |= calls.depth.astype(np.uint32) << np.uint32(8)
    codes[: len(calls.flags)] |= calls.flags
    # Nearly all calls return 0 or a pointer and ask for no module: the others' results and modules get a number.
    unusual = np.flatnonzero((calls.result != 0) | (calls.module != 0))
    if len(unusual):
        went = packed((calls.module[unusual], 8), (calls.result[unusual], 32))
        asked = (calls.module_protocol, 32), (calls.module_family, 16), (calls.module_type, 16)
        what = packed(*((column[unusual], bits) for column, bits in asked))
        number = alike([went, what]).group_of + 1
        if number.max() >> 8:
            codes = codes.astype(np.uint64)
        codes[unusual] |= number.astype(codes.dtype) << codes.dtype.type(24)
    return [_at(slot, codes, calls) for slot in range(slots)]


def _at(slot: int, codes: Words, calls: Calls) -> Words:
    """The code of each record's call number ``slot``, 0 where it has fewer."""
    there = calls.counts > slot
    rows = np.flatnonzero(there)
    if len(rows) * 4 > len(there):
        return np.where(there, codes[slot:].take(calls.starts), codes.dtype.type(0))
    found = np.zeros(len(there), codes.dtype)
    found[rows] = codes[calls.starts[rows] + slot]
    return found
