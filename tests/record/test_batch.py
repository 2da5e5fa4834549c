"""Batches that were read as columns, and their parts, compared with batches of records."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record.arrow.columns import from_arrow, to_arrow
from inetprobe.record.batch import Batch, ColumnBatch, Loss
from tests.support import builders

KINDS = builders.every_kind()


def read(records, sock=False):
    run = builders.run()
    run.sock = sock
    return from_arrow(to_arrow(records, run), run)


def assert_same(one, other):
    assert len(one) == len(other)
    for name in one.records.dtype.names:
        if name not in ("calls", "sock", "stack", "frames"):
            assert one.column(name).tolist() == other.column(name).tolist()
    for mine, yours in zip(one.calls, other.calls, strict=True):
        assert mine.dtype == yours.dtype
        assert mine.tolist() == yours.tolist()
    for name in ("comm", "prot"):
        mine, yours = one.names(name), other.names(name)
        assert mine.values[mine.indices].tolist() == yours.values[yours.indices].tolist()
    assert [column.tolist() for column in one.shapes] == [column.tolist() for column in other.shapes]
    assert one.distinct.records.tobytes() == other.distinct.records.tobytes()
    assert one.records.tobytes() == other.records.tobytes()


places = st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=30)


@given(places, st.data())
def test_a_batch_of_columns_equals_one_of_records(places, data):
    records = KINDS[np.array(places)]
    batch = read(records)
    assert isinstance(batch, ColumnBatch)
    assert_same(batch, Batch(records))
    rows = np.array(data.draw(st.lists(st.integers(0, len(places) - 1))), int)
    assert_same(batch.take(rows), Batch(records[rows]))
    again = np.flatnonzero(rows % 2)
    assert_same(batch.take(rows).take(again), Batch(records[rows][again]))


def test_with_the_fields_of_the_sock():
    records = builders.with_sock(KINDS[:3], builders.TCP_SOCK, None, builders.TCP_SOCK._replace(mc_ttl=None))
    batch = read(records, sock=True)
    assert batch.has_sock
    assert batch.column("sock").tobytes() == Batch(records).column("sock").tobytes()
    assert_same(batch, Batch(records))


@pytest.mark.parametrize("start", [0, 1, 7, 9])
def test_a_slice_of_what_arrow_read(start):
    records = np.tile(KINDS, 3)
    run = builders.run()
    arrow = to_arrow(records, run).slice(start, 11)
    assert_same(from_arrow(arrow, run), Batch(records[start : start + 11]))


@pytest.mark.parametrize("used", [[7, None, 3, 7], [None] * 4, [499_999] * 4])
def test_a_dictionary_larger_than_the_column(used):
    run = builders.run()
    arrow = to_arrow(np.tile(builders.created(), 4), run)
    words = pa.array([f"P{number}" for number in range(500_000)])
    prot = pa.DictionaryArray.from_arrays(pa.array(used, pa.int32()), words)
    batch = from_arrow(arrow.set_column(arrow.schema.get_field_index("prot"), "prot", prot), run)
    assert batch.column("prot").tolist() == [b"" if place is None else b"P%d" % place for place in used]
    assert len(batch.names("prot").values) <= 5


def test_a_part_has_only_the_losses_given_to_it():
    batch = read(KINDS)
    assert batch.take(np.arange(2)).losses == ()
    assert batch.take(np.arange(2), (Loss("ring_full", 1),)).losses == (Loss("ring_full", 1),)


def test_counting_makes_no_records(monkeypatch):
    batch = read(KINDS)
    monkeypatch.setattr(ColumnBatch, "_make_records", None)
    assert len(batch.shapes.first) == 11
    assert batch.column("pid").tolist() == KINDS["pid"].tolist()
    with pytest.raises(TypeError):
        _ = batch.records
