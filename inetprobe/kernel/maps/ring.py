"""The drain: every pending record of a BPF ring buffer as one numpy array.

The kernel maps a ring buffer as one consumer page, one producer page and the data twice in a row
(kernel/bpf/ringbuf.c, Linux 5.8 and later), so that pending samples are contiguous even across the end. Each sample
has an 8-byte header: its length with a busy and a discard bit, and a page offset. Our records all have one size, so
pending data is an array of (header, record).

``MappedRing`` reads that memory and relies on x86-64's ordering of loads; elsewhere, or where the mapping is refused,
``CallbackRing`` lets bcc's own consumer copy each record.
"""

from __future__ import annotations

import mmap
import os
import platform
import select
from typing import Any, Protocol

import numpy as np

from inetprobe.base.errors import HostError
from inetprobe.kernel.callbacks import Say
from inetprobe.record.layout import Records, decode

#: The part of a ring that is pending when its reader is woken: large batches decode cheaply, and a burst has room.
MUCH = 1 / 8
_BUSY = 1 << 31
_DISCARD = 1 << 30
_HELD_S = 0.001


class Ring(Protocol):
    """A ring buffer's reader. Only ``wake`` may be called while another thread uses it."""

    @property
    def much(self) -> bool:
        """Should pending records be drained now, before any other work?"""

    def wait(self, timeout_s: float | None) -> None:
        """Blocks until much is pending (the kernel wakes us then), until ``wake``, or until the time is up.

        It does not return for a single record: a reader that takes each as it comes is always busy, and slows the
        traced threads.
        """

    def wake(self) -> None:
        """Ends ``wait``, now or the next time; may be called from another thread or a signal handler."""

    def drain(self) -> Records:
        """All complete pending records, oldest first; never blocks."""

    def close(self) -> None:
        """Unmaps the ring."""


class MappedRing:
    """The ring's own pages. Raises OSError where the kernel refuses the mapping."""

    def __init__(self, fd: int, size: int, dtype: np.dtype[np.void]) -> None:
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
        """See Ring."""
        return int(self._producer[0]) - int(self._consumer[0]) >= self._size * MUCH

    def wait(self, timeout_s: float | None) -> None:
        """See Ring."""
        if self._held:  # a busy record will be submitted in a moment, without a wakeup for the records behind it
            timeout_s = _HELD_S if timeout_s is None else min(timeout_s, _HELD_S)
        elif self.much:
            return  # these came during the last drain, without a wakeup
        if any(fd == self._wake for fd, _ in self._poll.poll(timeout_s)):
            os.eventfd_read(self._wake)

    def wake(self) -> None:
        """See Ring."""
        os.eventfd_write(self._wake, 1)

    def drain(self) -> Records:
        """See Ring. The records are a copy: the kernel may overwrite the ring as soon as this returns."""
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
        """See Ring."""
        self._poll.close()
        os.close(self._wake)
        # numpy's views must be deleted before the maps can be closed.
        del self._consumer, self._producer, self._data
        self._consumer_map.close()
        self._data_map.close()


class CallbackRing:
    """bcc's consumer: a Python call for each record, which only copies its bytes."""

    def __init__(self, fd: int, dtype: np.dtype[np.void], libbcc: Any) -> None:  # bcc has no types
        self._lib = libbcc.lib
        self._dtype = dtype
        self._pending = bytearray()
        self._callback = libbcc._RINGBUF_CB_TYPE(self._copy)
        self._consumer = self._lib.bpf_new_ringbuf(fd, self._callback, None)
        if not self._consumer:
            raise HostError("bcc cannot read the ring buffer: inetprobe doctor says what this machine lacks")

    def _copy(self, _ctx: object, data: int, size: int) -> int:
        import ctypes

        # Of any size: an exception in a callback would be lost, so drain() refuses a wrong size.
        self._pending += ctypes.string_at(data, size)
        return 0

    @property
    def much(self) -> bool:
        """See Ring: always, since bcc does not show how much is pending."""
        return True

    def wait(self, timeout_s: float | None) -> None:
        """See Ring; a single record ends it, and ``wake`` takes effect within a second."""
        self._lib.bpf_poll_ringbuf(self._consumer, int(min(1.0, 1.0 if timeout_s is None else timeout_s) * 1000))

    def wake(self) -> None:
        """See Ring."""

    def drain(self) -> Records:
        """See Ring."""
        self._lib.bpf_consume_ringbuf(self._consumer)
        pending, self._pending = self._pending, bytearray()
        return decode(pending, self._dtype)

    def close(self) -> None:
        """See Ring."""
        self._lib.bpf_free_ringbuf(self._consumer)


def open_ring(fd: int, size: int, dtype: np.dtype[np.void], libbcc: Any, say: Say) -> Ring:
    """The fastest drain this machine allows for the ring buffer ``fd`` of ``size`` bytes."""
    if platform.machine() == "x86_64":
        try:
            return MappedRing(fd, size, dtype)
        except OSError as error:
            say(f"the ring buffer cannot be mapped ({error.strerror}): records go one by one through bcc")
    return CallbackRing(fd, dtype, libbcc)
