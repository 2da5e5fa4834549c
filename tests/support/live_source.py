"""A stand-in for the live source of ``serve``."""

import threading

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch, Loss
from inetprobe.stats.snapshot import OutcomeKey, Snapshot
from tests.support import builders


class Live:
    """A stand-in for the live source: fixed counts, and one batch of records, then nothing until stopped."""

    def __init__(self, records, error=None):
        self.run = builders.run()
        self.records, self.error = records, error
        self.streamed, self.stopped = threading.Event(), threading.Event()
        self.closed = 0

    def snapshot(self):
        return Snapshot((1000,), entries=9, outcomes={OutcomeKey(2, 1, 0, 0): 9})

    def batches(self):
        yield Batch(self.records, (Loss("ring_full", 2),))
        self.streamed.set()
        if self.error is not None:
            raise self.error
        self.stopped.wait(20)

    def stop(self):
        self.stopped.set()

    def accounting(self):
        return Accounting(entries=len(self.records), complete=len(self.records))

    def close(self):
        assert self.stopped.is_set()
        self.closed += 1
