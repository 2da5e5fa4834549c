"""Groups of equal rows, compared with those of a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record import shapes
from inetprobe.record.batch import Batch
from inetprobe.record.layout import record_dtype
from inetprobe.record.shapes import alike, grouped, names_of, packed
from tests.support import builders

KINDS = np.concatenate([builders.every_kind(), builders.every_syscall()])
# All that makes no difference to a shape.
APART = (
    "start_ns",
    "seq",
    "cgroup_id",
    "pid",
    "tid",
    "ppid",
    "uid",
    "gid",
    "netns",
    "foreign",
    "cpu",
    "comm",
    "descriptor",
)


def by_hand(rows):
    first, of = {}, []
    for place, row in enumerate(rows):
        of.append(list(first).index(row) if row in first else len(first))
        first.setdefault(row, place)
    return list(first.values()), of, [of.count(number) for number in range(len(first))]


def lists(groups):
    return groups.first.tolist(), groups.group_of.tolist(), groups.counts.tolist()


words = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 1 << 32, (1 << 64) - 1])), max_size=60)


@given(words)
def test_groups_equal_those_of_a_dictionary(rows):
    columns = [np.array([row[place] for row in rows], np.uint64) for place in (0, 1)]
    assert lists(alike(columns)) == by_hand(rows)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2), st.binary(max_size=8)), max_size=40))
def test_groups_of_columns_of_any_dtype_equal_those_of_a_dictionary(rows):
    rows = [(number, small, name.rstrip(b"\0")) for number, small, name in rows]
    columns = [np.array([row[place] for row in rows], kind) for place, kind in enumerate(("i4", "i8", "S8"))]
    assert lists(grouped(*columns)) == by_hand(rows)


@pytest.mark.parametrize("multiplier", [0, 1 << 63])
def test_groups_are_right_when_all_hashes_collide(monkeypatch, multiplier):
    monkeypatch.setattr(shapes, "_multiplier", lambda _: np.uint64(multiplier))
    values = np.random.default_rng(1).integers(0, 40, 500)
    assert lists(alike([values.astype(np.uint64)])) == by_hand(values.tolist())


def test_more_rows_than_the_table_has_slots():
    values = np.arange(200_000) % 150_000
    groups = alike([values.astype(np.uint64)])
    assert groups.first.tolist() == list(range(150_000))
    assert np.array_equal(groups.group_of, values)


@given(st.lists(st.tuples(st.integers(-(2**15), 2**15 - 1), st.integers(0, 2**16 - 1), st.integers(-(2**31), -1))))
def test_packed_integers_do_not_overlap(rows):
    columns = [np.array([row[place] for row in rows], kind) for place, kind in enumerate(("i2", "u2", "i4"))]
    wanted = [(a & 0xFFFF) << 48 | b << 32 | c & 0xFFFFFFFF for a, b, c in rows]
    assert packed((columns[0], 16), (columns[1], 16), (columns[2], 32)).tolist() == wanted


def test_names_are_those_of_the_column():
    column = np.array([b"a", b"b", b"a", b"", b"b" * 16], "S16")
    names = names_of(column)
    assert names.values.tolist() == [b"a", b"b", b"", b"b" * 16]
    assert names.values[names.indices].tolist() == column.tolist()


@given(st.lists(st.integers(0, len(KINDS) - 1), max_size=40), st.randoms(use_true_random=False))
def test_a_shape_is_all_but_process_place_and_time(places, random):
    records = KINDS[np.array(places, int)].copy()
    for record in records:
        for name in APART[:-1]:
            record[name] = random.randrange(1 << 8 * record[name].itemsize)
        record["comm"] = bytes(random.choices(range(1, 256), k=16))
        record["calls"]["duration_ns"] = random.randrange(1 << 64)
        record["calls"][record["ncalls"] :]["result"] = random.randrange(1 << 31)  # of no call
    # Of the kinds, 0 and 9 differ in comm alone.
    assert lists(Batch(records).shapes) == by_hand([0 if place == 9 else place for place in places])
    assert Batch(records).distinct.records.tobytes() == records[Batch(records).shapes.first].tobytes()


@given(st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.integers(0, 2), st.sampled_from([b"a", b"b"]))))
def test_shapes_by_further_members(rows):
    records = KINDS[np.array([kind for kind, _, _ in rows], int)].copy()
    records["pid"], records["comm"] = [pid for _, pid, _ in rows], [comm for _, _, comm in rows]
    alike_shapes = [(0 if kind == 9 else kind, pid, comm) for kind, pid, comm in rows]
    batch = Batch(records)
    assert lists(batch.shapes_by("pid", "comm")) == by_hand(alike_shapes)
    part = batch.take(np.arange(len(rows))[::-2])
    assert lists(part.shapes_by("pid", "comm")) == by_hand(alike_shapes[::-2])


@given(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=40), st.data())
def test_a_shape_s_key_is_the_same_in_every_batch_and_part(places, data):
    records = KINDS[np.array(places)].copy()
    for record in records:
        for name in APART[:-1]:
            record[name] = data.draw(st.integers(0, 255))
        record["comm"] = data.draw(st.binary(max_size=16))
        record["calls"][record["ncalls"] :]["result"] = data.draw(st.integers(0, 255))
    batch = Batch(records)
    alone = [Batch(records[place : place + 1]).shape_keys[0] for place in range(len(records))]
    assert [batch.shape_keys[shape] for shape in batch.shapes.group_of] == alone
    assert len(set(alone)) == len(batch.shape_keys)
    rows = np.array(data.draw(st.lists(st.integers(0, len(records) - 1))), int)
    part = batch.take(rows)
    assert [part.shape_keys[shape] for shape in part.shapes.group_of] == [alone[row] for row in rows]
    assert lists(part.shapes) == lists(Batch(records[rows]).shapes)


@pytest.mark.parametrize("name", ["family", "type", "protocol", "flags", "ncalls", "prot"])
def test_each_part_of_the_request_makes_a_shape(name):
    records = np.tile(builders.created(prot=b"TCP"), 2)
    records[name][1] = b"UDP" if name == "prot" else 7
    assert Batch(records).shapes.group_of.tolist() == [0, 1]


@pytest.mark.parametrize(
    "name", ["result", "function", "depth", "flags", "module", "module_protocol", "module_family", "module_type"]
)
@pytest.mark.parametrize("slot", [0, 2])
def test_each_part_of_a_call_makes_a_shape(name, slot):
    records = np.tile(builders.created(prot=b"TCP"), 2)
    records["calls"]["module"][:, slot] = 1
    records["calls"][name][1, slot] = 5
    assert Batch(records).shapes.group_of.tolist() == [0, 1]


def test_a_sock_makes_a_shape():
    other = builders.TCP_SOCK._replace(rcv_tos=1)
    batch = Batch(builders.with_sock(np.tile(builders.created(), 3), builders.TCP_SOCK, other, builders.TCP_SOCK))
    assert batch.records.dtype == record_dtype(sock=True)
    assert batch.shapes.group_of.tolist() == [0, 1, 0]


def test_hundreds_of_results_are_hundreds_of_shapes():
    records = np.tile(builders.created(), 1000)
    records["calls"]["result"][:, 0] = -np.arange(1000)
    assert Batch(records).shapes.first.tolist() == list(range(1000))
