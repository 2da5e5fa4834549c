"""The drain: every pending record of a BPF ring buffer as one numpy array.

The kernel maps a ring buffer as one consumer page, one producer page and the data twice in a row
(kernel/bpf/ringbuf.c, Linux 5.8 and later), so that pending samples are contiguous even across the end. Each sample
has an 8-byte header: its length with a busy and a discard bit, and a page offset. Our records all have one size, so
pending data is an array of (header, record).

The reader relies on x86-64's ordering of loads.
"""

from __future__ import annotations

import mmap
import os
import select

import numpy as np

from inetprobe.record.layout import Records

#: The part of a ring that is pending when its reader is woken: large batches decode cheaply, and a burst has room.
MUCH = 1 / 8
_BUSY = 1 << 31
_DISCARD = 1 << 30
_HELD_S = 0.001


class Ring:
    """A ring buffer's reader. Only ``wake`` may be called while another thread uses it."""

    def __init__(self, fd: int, size: int, dtype: np.dtype[np.void]) -> None:
        """``fd``: the ring buffer, of ``size`` bytes. Raises OSError where the kernel refuses the mapping."""
        page = mmap.PAGESIZE
        self._size = size
        self._sample = np.dtype([("length", "<u4"), ("page_offset", "<u4"), ("record", dtype)])
        # The kernel rounds each sample up to 8 bytes, which the record's size already is a multiple of.
        if self._sample.itemsize % 8:
            raise ValueError(f"a record of {dtype.itemsize} bytes is not a multiple of 8")
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._consumer_map, "<u8", 1)
        self._producer = np.frombuffer(self._data_map, "<u8", 1)
        self._data = np.frombuffer(self._data_map, np.uint8, 2 * size, page)
        self._poll = select.epoll()
        # Edge-triggered, so that it returns on the kernel's wakeups: by level, a single record makes the ring readable.
        self._poll.register(fd, select.EPOLLIN | select.EPOLLET)
        self._held = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)

    @property
    def much(self) -> bool:
        """Should pending records be drained now, before any other work?"""
        return int(self._producer[0]) - int(self._consumer[0]) >= self._size * MUCH

    def wait(self, timeout_s: float | None) -> None:
        """Blocks until much is pending (the kernel wakes us then), until ``wake``, or until the time is up.

        It does not return for a single record: a reader that takes each as it comes is always busy, and slows the
        traced threads.
        """
        if self._held:  # a busy record will be submitted in a moment, without a wakeup for the records behind it
            timeout_s = _HELD_S if timeout_s is None else min(timeout_s, _HELD_S)
        elif self.much:
            return  # these came during the last drain, without a wakeup
        if any(fd == self._wake for fd, _ in self._poll.poll(timeout_s)):
            os.eventfd_read(self._wake)

    def wake(self) -> None:
        """Ends ``wait``, now or the next time; may be called from another thread or a signal handler."""
        os.eventfd_write(self._wake, 1)

    def drain(self) -> Records:
        """All complete pending records, oldest first; never blocks. They are a copy: the kernel may overwrite the ring
        as soon as this returns."""
        consumer, producer = int(self._consumer[0]), int(self._producer[0])
        pending = (producer - consumer) // self._sample.itemsize
        start = consumer & (self._size - 1)
        lengths = self._data[start : start + pending * self._sample.itemsize].view(self._sample)["length"]
        busy = np.flatnonzero(lengths & _BUSY)
        ready = int(busy[0]) if busy.size else pending
        self._held = ready < pending
        # In one piece, with the headers: numpy would copy the records alone member by member.
        samples = self._data[start : start + ready * self._sample.itemsize].copy().view(self._sample)
        records: Records = samples["record"]
        discarded = (samples["length"] & _DISCARD) != 0
        if discarded.any():
            records = records[~discarded]
        # Only now may the kernel reuse the space: an aligned 8-byte store after the copy above.
        self._consumer[0] = consumer + ready * self._sample.itemsize
        return records

    def close(self) -> None:
        """Unmaps the ring."""
        self._poll.close()
        os.close(self._wake)
        # numpy's views must be deleted before the maps can be closed.
        del self._consumer, self._producer, self._data
        self._consumer_map.close()
        self._data_map.close()
