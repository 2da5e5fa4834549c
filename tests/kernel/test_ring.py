"""The drain of a ring in a memory file, with the layout of kernel/bpf/ringbuf.c.

A memory file cannot be mapped twice in a row, so the data is written in both places, as the kernel's page table
would show it.
"""

import mmap
import os
import select
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.kernel.maps import ring
from inetprobe.record.layout import RECORD

SIZE = 4 * mmap.PAGESIZE
REAL_EPOLL = select.epoll
STRIDE = RECORD.itemsize + 8
BUSY, DISCARD = 1 << 31, 1 << 30


class KernelSide:
    """Writes to the shared pages as bpf_ringbuf_reserve() and bpf_ringbuf_submit() do."""

    def __init__(self):
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.memory = mmap.mmap(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.produced = 0
        self.made = 0

    def consumed(self):
        return struct.unpack_from("<Q", self.memory, 0)[0]

    def put(self, flags=0):
        """One record numbered ``made``; False if the ring is full, as the kernel then drops it."""
        if self.produced + STRIDE - self.consumed() > SIZE:
            return False
        record = np.zeros(1, RECORD)
        record["seq"] = self.made
        self.write(struct.pack("<II", RECORD.itemsize | flags, 0) + record.tobytes())
        self.made += 1
        return True

    def write(self, data):
        for i, byte in enumerate(data):
            offset = (self.produced + i) % SIZE
            for copy in (0, SIZE):
                self.memory[2 * mmap.PAGESIZE + copy + offset] = byte
        self.produced += len(data)
        struct.pack_into("<Q", self.memory, mmap.PAGESIZE, self.produced)


@pytest.fixture(name="poll")
def no_epoll(monkeypatch):
    """Replaces epoll, which a memory file does not support; the timeouts of each wait, in seconds."""
    waited = []

    class Poll:
        def register(self, fd, events):
            assert events

        def poll(self, timeout):
            waited.append(timeout)
            return []

        def close(self):
            pass

    monkeypatch.setattr(ring.select, "epoll", Poll)
    return waited


def open_both():
    kernel = KernelSide()
    return kernel, ring.Ring(kernel.fd, SIZE, RECORD)


def test_pending_records_come_in_order_and_their_space_is_released(poll):
    kernel, reader = open_both()
    for _ in range(5):
        assert kernel.put()
    assert reader.drain()["seq"].tolist() == [0, 1, 2, 3, 4]
    assert kernel.consumed() == kernel.produced
    assert len(reader.drain()) == 0


def test_a_busy_record_holds_back_those_after_it_until_it_is_submitted(poll):
    kernel, reader = open_both()
    kernel.put()
    busy_at = 2 * mmap.PAGESIZE + kernel.produced
    kernel.put(BUSY)
    kernel.put()
    assert reader.drain()["seq"].tolist() == [0]
    for copy in (0, SIZE):
        struct.pack_into("<I", kernel.memory, busy_at + copy, RECORD.itemsize)
    assert reader.drain()["seq"].tolist() == [1, 2]


def test_a_discarded_record_is_skipped(poll):
    kernel, reader = open_both()
    kernel.put()
    kernel.put(DISCARD)
    kernel.put()
    assert reader.drain()["seq"].tolist() == [0, 2]


def test_records_do_not_change_when_the_kernel_writes_over_them(poll):
    kernel, reader = open_both()
    kernel.made = 99  # unlike the rest of the record, which is mostly zeros
    kernel.put()
    kept = reader.drain()
    while kernel.produced < 3 * SIZE:
        kernel.put()
        reader.drain()
    assert kept["seq"].tolist() == [99]


def test_waiting_ends_when_it_is_woken(poll):
    _, reader = open_both()
    with REAL_EPOLL() as real:
        real.register(reader._wake, select.EPOLLIN)
        reader._poll = real
        assert not real.poll(0)
        reader.wake()
        reader.wait(None)
        assert not real.poll(0), "one wake ends one wait"


def test_it_waits_for_a_wakeup_while_little_is_pending(poll):
    kernel, reader = open_both()
    reader.wait(0.1)
    kernel.put()
    reader.wait(0.1)
    assert poll == [0.1, 0.1]
    assert not reader.much


def test_it_does_not_wait_while_much_is_pending(poll):
    kernel, reader = open_both()
    while not reader.much:
        assert kernel.put()
    assert kernel.produced >= SIZE * ring.MUCH > kernel.produced - STRIDE
    reader.wait(None)
    assert poll == []
    assert len(reader.drain()) == kernel.made
    assert not reader.much


@pytest.mark.parametrize(("asked", "waited"), [(None, 0.001), (0.1, 0.001), (0.0, 0.0)])
def test_behind_a_busy_record_it_waits_a_millisecond(poll, asked, waited):
    kernel, reader = open_both()
    kernel.put(BUSY)
    while not reader.much:
        assert kernel.put()
    assert len(reader.drain()) == 0
    reader.wait(asked)
    assert poll == [waited]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_each_record_comes_once_across_the_ring_s_end(bursts):
    with pytest.MonkeyPatch.context() as patch:
        no_epoll.__wrapped__(patch)
        kernel, reader = open_both()
        seen = []
        for burst in bursts:
            for _ in range(burst):
                if not kernel.put():
                    break
            seen += reader.drain()["seq"].tolist()
        assert seen == list(range(kernel.made))
        reader.close()
