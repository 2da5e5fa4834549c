"""Which records of a batch have one shape: a million sockets have a few dozen shapes, apart from times and names.

Whatever depends on the shape alone, such as the verdict, is computed once per shape.
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
    """A column of names: that of row i is ``values[indices[i]]``. Equal indices are equal names."""

    values: npt.NDArray[np.bytes_]
    indices: npt.NDArray[np.signedinteger[Any]]


def alike(words: Sequence[Words]) -> Groups:
    """Groups the rows that are equal in all ``words``: one or more columns ``[rows]``, of up to 64 bits each.

    np.unique over the rows as bytes gives the same groups and takes 5.5 times as long (on batches of 16,384 records).
    Here a hash table finds them without a sort, in rounds of three steps: the first pending row in each slot of the
    table becomes its leader; every pending row is compared with the leader of its slot; and the rows that differ, few
    of them, remain pending.
    """
    rows = np.arange(len(words[0]))
    if not len(rows):
        return Groups(rows, rows, rows)
    bits = min(len(rows).bit_length(), _MAX_BITS)
    table = np.empty(1 << bits, np.intp)
    slot = _slots(words, bits)
    leader = rows.copy()
    pending, pending_words = rows, words
    while len(pending):
        table[slot[::-1]] = pending[::-1]  # the row put in last stays: the first in the slot
        candidate = table.take(slot)
        equal = np.ones(len(pending), bool)
        for word, pending_word in zip(words, pending_words, strict=True):
            equal &= word.take(candidate) == pending_word
        leader[pending] = candidate  # the next round corrects it for the rows that differ
        unequal = np.flatnonzero(~equal)
        pending, slot, pending_words = pending[unequal], slot[unequal], [word[unequal] for word in pending_words]
    first = np.flatnonzero(leader == rows)
    number = np.empty(len(rows), np.intp)
    number[first] = np.arange(len(first))
    group_of = number.take(leader)
    return Groups(first, group_of, np.bincount(group_of))


_MAX_BITS = 16


def _slots(words: Sequence[Words], bits: int) -> Indices:
    mixed = np.zeros(len(words[0]), np.uint64)
    for index, word in enumerate(words):
        mixed += word * _multiplier(index)
    slots: Indices = (mixed >> np.uint64(64 - bits)).astype(np.intp)
    return slots


@cache
def _multiplier(_index: int) -> np.uint64:
    # Odd, and random per process, so that a crafted recording cannot make every row collide.
    return np.uint64(secrets.randbits(64) | 1)


def words_of(column: npt.NDArray[Any]) -> list[Words]:
    """A column of integers, names or structs without padding as words: rows are equal where all of their words are."""
    if column.dtype.kind in "iu":
        return [column.view(f"u{column.dtype.itemsize}")]
    count, remainder = divmod(column.dtype.itemsize, 8)
    assert not remainder
    matrix = np.ascontiguousarray(column).view(np.uint64).reshape(len(column), count)
    return [matrix[:, index] for index in range(count)]


def grouped(*columns: npt.NDArray[Any]) -> Groups:
    """Groups the rows that are equal in all columns, each of a dtype that ``words_of`` takes."""
    return alike([word for column in columns for word in words_of(column)])


def names_of(column: npt.NDArray[np.bytes_]) -> Names:
    """The distinct names of a column."""
    groups = grouped(column)
    return Names(column[groups.first], groups.group_of)


def packed(*columns: tuple[npt.NDArray[Any], int]) -> Words:
    """Columns of integers side by side in one word, each with its width in bits, 64 in total at most; the highest bits
    first."""
    word = np.zeros(len(columns[0][0]), np.uint64)
    for column, bits in columns:
        word <<= np.uint64(bits)
        # As the unsigned type of the same size: a sign would be extended over the columns before it.
        word |= column.view(f"u{column.dtype.itemsize}")
    return word


def call_words(calls: Calls) -> list[Words]:
    """The calls of each record, except for their times, as words ``[records]``: one word per call slot."""
    slots = int(calls.counts.max(initial=0))
    codes = np.zeros(len(calls.flags) + slots, np.uint32)
    codes[: len(calls.flags)] = calls.function.astype(np.uint32) << np.uint32(16)
    codes[: len(calls.flags)] |= calls.depth.astype(np.uint32) << np.uint32(8)
    codes[: len(calls.flags)] |= calls.flags
    # Nearly all calls return 0 or a pointer and ask for no module. The others' results and modules become a number.
    unusual = np.flatnonzero((calls.result != 0) | (calls.module != 0))
    if len(unusual):
        results = packed((calls.module[unusual], 8), (calls.result[unusual], 32))
        members = (calls.module_protocol, 32), (calls.module_family, 16), (calls.module_type, 16)
        modules = packed(*((column[unusual], bits) for column, bits in members))
        number = alike([results, modules]).group_of + 1
        if number.max() >> 8:
            codes = codes.astype(np.uint64)
        codes[unusual] |= number.astype(codes.dtype) << codes.dtype.type(24)
    return [_at(slot, codes, calls) for slot in range(slots)]


def _at(slot: int, codes: Words, calls: Calls) -> Words:
    """The code of each record's call number ``slot``, 0 where it has fewer."""
    used = calls.counts > slot
    rows = np.flatnonzero(used)
    if len(rows) * 4 > len(used):
        return np.where(used, codes[slot:].take(calls.starts), codes.dtype.type(0))
    word = np.zeros(len(used), codes.dtype)
    word[rows] = codes[calls.starts[rows] + slot]
    return word
