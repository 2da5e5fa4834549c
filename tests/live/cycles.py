"""Attaches and detaches the BPF programs TIMES times while other processes make sockets.

``python -m tests.live.cycles TIMES``
"""

import sys
import time

import numpy as np

from inetprobe.kernel.host import btf
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import program as bpf
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.batch import Batch
from inetprobe.record.layout import INCOMPLETE_FLAGS, RECORD_BARE
from inetprobe.record.nesting import problems
from inetprobe.record.run import Run

SHAPE = [5, 0, 2, 3]  # __sys_socket, inet_create, sk_alloc, sk_prot_alloc as bpf/record.h numbers them

MAKERS = 2


def has_shape(records, functions):
    """Which records have these calls and no others, each returned?"""
    calls = records["calls"][:, : len(functions)]
    same = (calls["function"] == functions).all(axis=1) & (calls["flags"] & 1).all(axis=1)
    return same & (records["ncalls"] == len(functions))


def main(times):
    options = TraceOptions(mechanism="kprobe")
    target = Target.of_kernel(options, btf.Btf.of_kernel(), Symbols.of_kernel(), Cgroups.of_host())
    program = bpf.Program(options, target, print)
    run, total = Run("", 0), 0
    for cycle in range(times):
        if cycle:
            program.attach()
        program.activate()
        time.sleep(0.05)
        program.deactivate()
        deadline = time.monotonic() + 2
        read = program.counters.read
        while read("begun") != read("ended") and time.monotonic() < deadline:
            time.sleep(0.005)
        program.detach()
        records = program.ring.drain()
        total += len(records)
        assert not problems(Batch(records), run).any()
        assert not (records["flags"] & (sum(INCOMPLETE_FLAGS) | RECORD_BARE)).any(), f"incomplete in cycle {cycle}"
        whole, begun = (has_shape(records, shape) for shape in (SHAPE, SHAPE[1:]))
        assert (whole | begun).all()
        assert np.count_nonzero(begun) <= MAKERS  # each was in a system call when tracing began, at most
        assert read("entries") == total + sum(program.counters.lost().values()) + read("begun") - read("ended")
    print(f"{times} cycles, {total} traces, {read('begun') - read('ended')} in flight, lost {program.counters.lost()}")
    assert total > times
    program.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
