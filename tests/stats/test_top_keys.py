"""Bounded tables: exact while there is room, and without a loss when there is not."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inetprobe.stats.top_keys import OTHER, TopKeys

ADDED = st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1 << 70)), max_size=12), max_size=8)


def fed(batches, most):
    table = TopKeys(most, 2)
    for batch in batches:
        keys, values = [key for key, _ in batch], [value for _, value in batch]
        table.add(keys, [[1] * len(keys), values], values, [f"note {value}" for value in values])
    return table


@given(ADDED)
def test_with_room_every_count_is_exact(batches):
    counts, sums, longest, notes = Counter(), Counter(), {}, {}
    for key, value in (pair for batch in batches for pair in batch):
        counts[key] += 1
        sums[key] += value
        longest[key] = max(longest.get(key, 0), value)
        notes[key] = f"note {value}"
    table = fed(batches, 31)
    assert dict(table.items()) == {key: (counts[key], sums[key], longest[key]) for key in counts}
    assert table.notes == notes


@given(ADDED, st.integers(1, 6))
def test_without_room_every_sum_is_exact(batches, most):
    table = fed(batches, most)
    pairs = [pair for batch in batches for pair in batch]
    found = dict(table.items())
    assert len(table) <= most
    assert sum(count for count, _, _ in found.values()) == len(pairs)
    assert sum(total for _, total, _ in found.values()) == sum(value for _, value in pairs)
    assert max((longest for _, _, longest in found.values()), default=0) == max((v for _, v in pairs), default=0)
    assert table.notes.keys() == found.keys() - {OTHER}


@given(ADDED, ADDED)
def test_merging_equals_feeding_one(one, other):
    merged = fed(one, 31)
    merged.merge(fed(other, 31))
    together = fed(one + other, 31)
    assert dict(merged.items()) == dict(together.items())
    assert merged.notes == together.notes


@given(ADDED, ADDED, st.integers(1, 6))
def test_merged_without_room_loses_nothing(one, other, most):
    merged = fed(one, most)
    merged.merge(fed(other, most))
    pairs = [pair for batch in one + other for pair in batch]
    assert sum(count for _, (count, _, _) in merged.items()) == len(pairs)
    assert len(merged) <= most


def test_a_key_that_stands_out_in_any_column_stays():
    table = TopKeys(10, 2)
    table.add(["busy"], [[1000], [0]])
    table.add(["slow"], [[1], [10**9]])
    table.add(["long"], [[1], [0]], [77])
    for number in range(200):
        table.add([number], [[2], [5]], [1])
    found = dict(table.items())
    assert found["busy"] == (1000, 0, 0)
    assert found["slow"] == (1, 10**9, 0)
    assert found["long"] == (1, 0, 77)
    assert len(table) <= 10
    assert sum(count for count, _, _ in found.values()) == 1402


def test_a_merge_without_room_takes_the_largest():
    one, other = TopKeys(4, 1), TopKeys(4, 1)
    one.add(list("abcd"), [[1, 2, 3, 4]])
    other.add(list("efgh"), [[1, 1, 1, 90]])
    one.merge(other)
    assert dict(one.items())["h"] == (90, 0)
