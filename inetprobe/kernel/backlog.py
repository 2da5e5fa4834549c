"""The records that wait between the ring and the sinks: slow sinks do not delay the ring's reader."""

from __future__ import annotations

from collections import deque

import numpy as np

from inetprobe.record.batch import Batch

#: The most records in a batch: any sink handles that many in far less time than it takes to fill a ring.
STEP = 4096
#: The most records that wait, some 50 MB: beyond that the ring fills, and the kernel counts the losses.
MAX_WAITING = 1 << 17


class Backlog:
    """Batches in the order they came, taken in steps of at most ``STEP`` records. False if no batch waits."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._batches: deque[Batch] = deque()
        self._waiting = 0
        self._empty = Batch(np.zeros(0, dtype))

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def full(self) -> bool:
        """Should further records stay in the ring?"""
        return self._waiting >= MAX_WAITING

    def put(self, batch: Batch) -> None:
        """Appends a batch that was just drained."""
        if len(batch) or batch.losses:
            self._batches.append(batch)
            self._waiting += len(batch)

    def take(self) -> Batch:
        """The oldest records, or an empty batch; losses come with the records after them."""
        if not self._batches:
            return self._empty
        batch = self._batches.popleft()
        if len(batch) > STEP:
            self._batches.appendleft(Batch(batch.records[STEP:]))
            batch = Batch(batch.records[:STEP], batch.losses)
        self._waiting -= len(batch)
        return batch
