"""(b) In the guest, where a nanosecond is an instruction: what it takes to get a record out of the ring."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time

from inetprobe.kernel.program.compiler import import_bcc
from inetprobe.kernel.source import LiveSource
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import RECORD
from tests.bench.attached import silent

_RECORDS, _ROUNDS = 2800, 5  # about an eighth of the default ring, at which its reader is woken


def main() -> None:
    """Prints instructions a record for each consumer."""
    loop, library = sys.argv[1:]
    figures = {
        "inetprobe, the drain and what live adds": _ours,
        "the same, 64 records at a time": lambda source: _ours(source, 64),
        "libbpf's consumer, a callback in C": lambda source: _libbpf(source, library),
        "bcc's callback, a cast a record": _bcc,
    }
    results = {}
    for what, consume in figures.items():
        with LiveSource.of_kernel(TraceOptions(mechanism="fentry"), None, silent) as source:
            source.start()
            results[what] = consume_all(source, loop, consume(source))
        print(f"{what:42}{results[what]:>8.0f} instructions a record", flush=True)
    ours, callback = (
        results[name] for name in ("inetprobe, the drain and what live adds", "bcc's callback, a cast a record")
    )
    print(f"{'bcc / inetprobe':42}{callback / ours:>8.1f}")


def consume_all(source, loop, consumer):
    """The least of a few rounds, each of as many records."""
    prepare, take, at_a_time = consumer
    best = float("inf")
    for _ in range(_ROUNDS):
        took, seen = 0, 0
        for _ in range(_RECORDS // at_a_time):
            subprocess.run([loop, str(at_a_time), "1"], stdout=subprocess.DEVNULL, check=True)
            prepare()
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

    return (lambda: None), take, at_a_time


def _libbpf(source, library):
    lib, ours = import_bcc().lib, ctypes.CDLL(library)
    copied = ctypes.c_size_t.in_dll(ours, "records")
    new = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(("bpf_new_ringbuf", lib))
    consume = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(("bpf_consume_ringbuf", lib))
    ring = new(source.attached.program.maps["records"], ctypes.cast(ours.copy, ctypes.c_void_p), None)

    def take() -> int:
        before = copied.value
        consume(ring)
        return copied.value - before

    return (lambda: None), take, _RECORDS


def _bcc(source):
    bcc, seen = import_bcc(), []
    from bcc.table import RingBuf

    # bcc's own table, of a map that it has not made; without a text it would read a file.
    program = bcc.BPF(text=b"// nothing")
    table = program.tables[b"records"] = RingBuf(program, 0, source.attached.program.maps["records"], None, None)

    # table.event() cannot read a struct with structs in it: what bcc's own tools do then.
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

    return (lambda: None), take, _RECORDS


if __name__ == "__main__":
    main()
