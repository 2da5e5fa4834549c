"""(b) In the guest, where a nanosecond is an instruction: the cost of draining a record from the ring."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

from inetprobe.kernel import libbcc
from inetprobe.kernel.source import LiveSource
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.cheader import bpf_folder
from inetprobe.record.layout import RECORD
from tests.bench.attached import silent

_RECORDS, _ROUNDS = 2800, 5  # about an eighth of the default ring, at which its reader is woken


def main() -> None:
    """Prints instructions per record for each consumer."""
    loop, library = sys.argv[1:]
    figures = {
        "inetprobe's drain, as in a live run": _ours,
        "the same, 64 records at a time": lambda source: _ours(source, 64),
        "libbpf's consumer, a callback in C": lambda source: _libbpf(source, library),
        "bcc's callback, a cast per record": _bcc,
    }
    results = {}
    for name, consumer in figures.items():
        with LiveSource.of_kernel(TraceOptions(mechanism="fentry"), None, silent) as source:
            source.start()
            results[name] = consume_all(loop, *consumer(source))
        print(f"{name:42}{results[name]:>8.0f} instructions per record", flush=True)
    ours, callback = (
        results[name] for name in ("inetprobe's drain, as in a live run", "bcc's callback, a cast per record")
    )
    print(f"{'bcc / inetprobe':42}{callback / ours:>8.1f}")


def consume_all(loop, take, at_a_time):
    """Returns instructions per record, the least of _ROUNDS rounds of _RECORDS records."""
    best = float("inf")
    for _ in range(_ROUNDS):
        took, seen = 0, 0
        for _ in range(_RECORDS // at_a_time):
            subprocess.run([loop, str(at_a_time), "1"], stdout=subprocess.DEVNULL, check=True)
            before = time.process_time_ns()
            seen += take()
            took += time.process_time_ns() - before
        if seen < _RECORDS // at_a_time * at_a_time:
            raise RuntimeError(f"{seen} records came out of {_RECORDS}")
        best = min(best, took / seen)
    return best


def _ours(source, at_a_time=_RECORDS):
    def take() -> int:
        source.attached.drain()
        records = 0
        while source.attached.backlog:
            records += len(source.attached.backlog.take())
        return records

    return take, at_a_time


def _libbpf(source, library):
    lib, ours = libbcc.load(), ctypes.CDLL(library)
    copied = ctypes.c_size_t.in_dll(ours, "records")
    new = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(("bpf_new_ringbuf", lib))
    consume = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(("bpf_consume_ringbuf", lib))
    ring = new(source.attached.program.maps["records"], ctypes.cast(ours.copy, ctypes.c_void_p), None)

    def take() -> int:
        before = copied.value
        consume(ring)
        return copied.value - before

    return take, _RECORDS


def _bcc(source):
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    sys.path.append("/usr/lib/python3/dist-packages")  # of Debian's python3-bpfcc
    import bcc
    from bcc.table import RingBuf

    seen = []

    # bcc's own table over a map that bcc did not create; without a text bcc would read a file.
    program = bcc.BPF(text=b"// nothing")
    table = program.tables[b"records"] = RingBuf(program, 0, source.attached.program.maps["records"], None, None)

    # table.event() cannot read a struct with nested structs; bcc's own tools then cast to a ctypes structure.
    class Event(ctypes.Structure):
        _fields_ = (
            ("start_ns", ctypes.c_uint64),
            ("seq", ctypes.c_uint64),
            ("cgroup_id", ctypes.c_uint64),
            ("pid", ctypes.c_uint32),
            ("rest", ctypes.c_uint8 * (RECORD.itemsize - 28)),
        )

    def callback(_context, data, _size):
        seen.append(ctypes.cast(data, ctypes.POINTER(Event)).contents.pid)

    table.open_ring_buffer(callback)

    def take() -> int:
        program.ring_buffer_consume()
        count = len(seen)
        seen.clear()
        return count

    return take, _RECORDS


if __name__ == "__main__":
    main()
