import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.backlog import MAX_WAITING, STEP, Backlog
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.layout import RECORD


def batch(first, count, *losses):
    records = np.zeros(count, RECORD)
    records["seq"] = range(first, first + count)
    return Batch(records, losses)


sizes = st.one_of(st.integers(0, 5), st.sampled_from([STEP - 1, STEP, STEP + 1, 3 * STEP]))


@given(st.lists(st.tuples(sizes, st.integers(0, 2), st.integers(0, 3)), max_size=12))
def test_records_come_out_in_order_and_a_loss_before_later_records(steps):
    backlog, put, lost_at, taken, lost_seen_at = Backlog(RECORD), 0, [], 0, []

    def take():
        nonlocal taken
        out = backlog.take()
        lost_seen_at.extend(taken for _ in out.losses)
        assert out.records["seq"].tolist() == list(range(taken, taken + len(out)))
        assert len(out) <= STEP
        taken += len(out)

    for size, losses, takes in steps:
        lost_at += [put] * losses
        backlog.put(batch(put, size, *[Loss("ring_full", 1)] * losses))
        put += size
        for _ in range(takes):
            take()
    while backlog:
        take()
    assert (taken, lost_seen_at) == (put, lost_at)


def test_an_empty_backlog_gives_an_empty_batch_of_its_dtype():
    backlog = Backlog(RECORD)
    backlog.put(batch(0, 0))
    assert not backlog
    assert len(backlog.take()) == 0
    assert backlog.take().records.dtype == RECORD


def test_it_is_full_until_enough_is_taken():
    backlog = Backlog(RECORD)
    piece = batch(0, MAX_WAITING // 4)
    for _ in range(4):
        assert not backlog.full
        backlog.put(piece)
    assert backlog.full
    backlog.take()
    assert not backlog.full
