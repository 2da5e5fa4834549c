"""A source of one batch, whole."""

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from tests.support import builders


class Once:
    def __init__(self, records):
        self.run = builders.run()
        self._records = records

    def batches(self):
        yield Batch(self._records)

    def stop(self):
        pass

    def accounting(self):
        return Accounting(entries=len(self._records), complete=len(self._records))
