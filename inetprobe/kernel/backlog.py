"""What waits between the ring and the sinks: the ring is emptied however slow they are."""

from __future__ import annotations

from collections import deque

import numpy as np

from inetprobe.record.batch import Batch

#: Records in a batch: what any sink does with so many takes far less time than it takes to fill a ring.
STEP = 4096
#: Records that wait, some 50 MB: beyond that the ring fills, and the kernel counts what is lost.
MAX_WAITING = 1 << 17


class Backlog:
    """Batches in the order they came, taken in steps of at most ``STEP`` records. False where nothing waits."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._batches: deque[Batch] = deque()
        self._waiting = 0
        self._nothing = Batch(np.zeros(0, dtype))

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def full(self) -> bool:
        """Is it time to leave the rest in the ring?"""
        return self._waiting >= MAX_WAITING

    def put(self, batch: Batch) -> None:
        """What was drained just now."""
        if len(batch) or batch.losses:
            self._batches.append(batch)
            self._waiting += len(batch)

    def take(self) -> Batch:
        """The oldest records, an empty batch where nothing waits; losses come with the records after them."""
        if not self._batches:
            return self._nothing
        batch = self._batches.popleft()
        if len(batch) > STEP:
            self._batches.appendleft(Batch(batch.records[STEP:]))
            batch = Batch(batch.records[:STEP], batch.losses)
        self._waiting -= len(batch)
        return batch
