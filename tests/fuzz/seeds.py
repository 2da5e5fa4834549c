"""Makes the seeds of recordings: python -m tests.fuzz.seeds"""

from pathlib import Path

import numpy as np

from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.layout import FUNCTIONS, RECORD, SLOTS_ALSO, record_dtype
from inetprobe.record.stacks import Side, Stack
from tests.support import builders

CORPUS = Path(__file__).parent / "corpus" / "recording"
BOOKS = Accounting(
    entries=15,
    complete=11,
    incomplete={"return_missed": 1},
    lost={"ring_full": 3},
    other_families={"1": 2},
    probe_hits={"inet_create:entry": 12},
)


def write(path, batches, run=None, accounting=BOOKS):
    run = run or builders.run()
    sink = RecordingWriter(OutputFile.create(path), run)
    for batch in batches:
        sink.batch(batch, run)
    if accounting is None:
        sink.cut_short()
    else:
        sink.summary(accounting)


def long_trace():
    """A record of --also, with more calls than other records have room for."""
    run = builders.run()
    run.slots, run.functions = SLOTS_ALSO, {**FUNCTIONS, 8: "sock_init_data"}
    short, record = builders.created(), np.zeros(1, record_dtype(SLOTS_ALSO))
    for name in RECORD.names:
        if name != "calls":
            record[name] = short[name]
    record["calls"][:, :3] = short["calls"][:, :3]
    for slot in range(3, 12):
        record["calls"][0, slot] = builders.call(8, 1, 5000 + slot, 1)
    record["ncalls"] = 12
    return record, run


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    kinds = builders.every_kind()
    write(CORPUS / "every-kind", [Batch(kinds, (Loss("ring_full", 3),))])
    write(CORPUS / "batches", [Batch(kinds[n : n + 3], (Loss("no_state", 1),)) for n in range(0, 12, 3)])
    write(CORPUS / "nothing", [Batch(kinds[:0])])
    write(CORPUS / "cut-short", [Batch(kinds[:2])], accounting=None)
    record, run = long_trace()
    write(CORPUS / "also", [Batch(record)], run, Accounting(entries=1, complete=1))
    run = builders.run()
    run.sock = True
    write(CORPUS / "sock", [Batch(builders.with_sock(kinds, builders.TCP_SOCK))], run)
    run = builders.run()
    run.stack = True
    stack = Stack(Side(("__sock_create+0x107",)), Side(("__socket+0x7 (libc.so.6)", "main+0x1"), "truncated"))
    write(CORPUS / "stack", [Batch(builders.with_stack(kinds, run.stacks, stack, None, stack))], run)


if __name__ == "__main__":
    main()
