"""Recordings on disk, of records from ``builders``."""

import random

import numpy as np

from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from inetprobe.record.stacks import Side, Stack
from tests.support import builders

EVERY_KIND = Accounting(entries=12, complete=11, incomplete={"return_missed": 1})


def write(path, records, accounting=None, run=None):
    run = run or builders.run()
    sink = RecordingWriter(OutputFile.create(path), run)
    sink.batch(Batch(records), run)
    sink.summary(accounting or Accounting(entries=len(records), complete=len(records)))
    return path


def every_kind(path):
    return write(path, builders.every_kind(), EVERY_KIND)


def fine(path, count=3):
    """TCP sockets only, as the model predicts."""
    return write(path, np.tile(builders.created(prot=b"TCP"), count))


def called(path):
    """Failures of a run with --stack: two with the same caller, one whose process had ended, one with the user's side
    alone, and one without a stack."""
    kernel, user = Side(("__sock_create+0x107",)), Side(("socket+0x7 (libc.so.6)", "culprit\u202e+0x18 (a.out)"))
    stacks = (Stack(kernel, user), Stack(kernel, user), Stack(kernel, Side((), "exited")), Stack(None, user), None)
    run = builders.run()
    run.stack = True
    failure = builders.record([builders.call(builders.CREATE, 0, 0, 5000, -93)], protocol=200)
    records = np.tile(failure, len(stacks))
    records["seq"] = np.arange(len(stacks))
    return write(path, builders.with_stack(records, run.stacks, *stacks), run=run)


def deviating(path):
    """A socket as predicted, and one with a result that the model does not know and a hostile name."""
    odd = builders.record(
        [builders.call(builders.CREATE, 0, 0, 5000, -71)], seq=9, comm=b"a\x1b[31m\n::error::\xff", uid=1000
    )
    return write(path, np.concatenate([builders.created(seq=8, prot=b"TCP"), odd]))


def timed(path, scale=1.0, count=400, failing=0, seed=1):
    """``count`` sockets of lognormal durations, ``failing`` of them refused for lack of CAP_NET_RAW."""
    records = np.tile(builders.created(prot=b"TCP"), count)
    records["seq"] = np.arange(count)
    noise = random.Random(seed)  # numpy's own may give other numbers in its next version
    records["calls"]["duration_ns"][:, 0] = [9000 + int(scale * noise.lognormvariate(9.5, 0.3)) for _ in range(count)]
    records[count - failing :] = builders.record(
        [builders.call(builders.CREATE, 0, 0, 20_000, -1)], kind=3, protocol=1, uid=1000
    )
    return write(path, records)
