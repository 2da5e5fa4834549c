"""``python -m tests.support.busy_serve ARGV``: ``inetprobe serve ARGV`` where sockets fail all the time.

The stream has 1,000 failed creations every 20 ms, until it is stopped.
"""

import sys
from unittest import mock

import numpy as np

from inetprobe.cli.main import main
from inetprobe.commands.serve import command
from inetprobe.record.batch import Batch
from tests.support import builders
from tests.support.live_source import Live

FAILED = builders.record([builders.call(builders.CREATE, 0, 0, 10_000, -93)])


class Busy(Live):
    """Batch after batch."""

    def batches(self):
        while not self.stopped.wait(0.02):
            yield Batch(self.records)


if __name__ == "__main__":
    sys.argv[1:1] = ["serve"]
    with mock.patch.object(command, "open_live", return_value=Busy(np.tile(FAILED, 1000))):
        main()
