"""The counters as Python reads them, from memory laid out as bpf/counters.h has it."""

import mmap
import os
import subprocess

import numpy as np
import pytest

from inetprobe.kernel.maps import counters
from inetprobe.record.batch import Loss
from inetprobe.record.cheader import bpf_folder
from inetprobe.record.layout import define

HEADER = bpf_folder() / "counters.h"
CPUS = 3
CALLS = 8


@pytest.fixture
def kernel():
    """(the counters, what the kernel would write: struct cpu_counters by CPU and struct slot_counters by slot)."""
    slots_size = counters.SLOTS * counters.slot_bytes(CALLS)
    fds = [os.memfd_create("a map") for _ in range(2)]
    for fd, size in zip(fds, (CPUS * counters.CPU_COUNTERS.itemsize, slots_size), strict=True):
        os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    read = counters.Counters(*fds, CPUS, CALLS)
    counters_size = CPUS * counters.CPU_COUNTERS.itemsize
    cpus = np.ndarray(CPUS, counters.CPU_COUNTERS, counters.map_memory(fds[0], counters_size, writable=True))
    slots_memory = counters.map_memory(fds[1], slots_size, writable=True)
    slots = np.ndarray(counters.SLOTS, counters.SLOT_COUNTERS, slots_memory, strides=(counters.slot_bytes(CALLS),))
    yield read, cpus, slots
    read.close()
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("struct", ["cpu_counters", "slot_counters"])
def test_the_layout_is_the_compiler_s(tmp_path, struct):
    dtype = {"cpu_counters": counters.CPU_COUNTERS, "slot_counters": counters.SLOT_COUNTERS}[struct]
    body = f'printf("%zu\\n", sizeof(struct {struct}));'
    for name in dtype.names:
        body += f'printf("%zu\\n", offsetof(struct {struct}, {name}));'
    (tmp_path / "layout.c").write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>\n"
        f'#include "record.h"\n#include "counters.h"\nint main(void) {{ {body} return 0; }}\n'
    )
    subprocess.run(["gcc", "-iquote", HEADER.parent, "-o", tmp_path / "layout", tmp_path / "layout.c"], check=True)
    out = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert [int(word) for word in out.split()] == [dtype.itemsize, *(dtype.fields[name][1] for name in dtype.names)]


def test_cpus_and_slots_add_up(kernel):
    read, cpus, slots = kernel
    cpus["value"][:, define("COUNT_ENTRIES")] = [1, 2, 4]
    assert read.read("entries") == 7
    slots["runs"][:, 2 * 3 + 1] = 5
    assert (read.runs(3, "return"), read.runs(3, "entry")) == (5 * len(slots), 0)


def test_begin_is_set_for_every_cpu(kernel):
    read, cpus, _ = kernel
    read.begin(on=True)
    assert cpus["on"].tolist() == [1] * CPUS
    read.begin(on=False)
    assert not cpus["on"].any()


def test_a_loss_is_reported_once(kernel):
    read, cpus, _ = kernel
    cpus["value"][0, define("COUNT_LOST_RING_FULL")] = 2
    assert read.new_losses() == (Loss("ring_full", 2),)
    assert read.new_losses() == ()
    cpus["value"][1, define("COUNT_LOST_RING_FULL")] = 3
    assert read.new_losses() == (Loss("ring_full", 3),)
    assert read.lost() == {"ring_full": 5}


def test_accepted_is_what_sk_alloc_does_not_account_for(kernel):
    read, cpus, slots = kernel
    unix, packet = 1, 17
    for member in ("sk_alloc_outside", "sk_prot_alloc_outside"):
        cpus[member][0, unix] = 4
        cpus[member][1, packet] = 1
    # Two creates that the filters left out; accepted connections: three over IPv4, one over IPv6.
    slots["sk_alloc_outside"][1, 0] = 2
    slots["sk_prot_alloc_outside"][[2, 4], 0] = [1, 4]
    slots["sk_prot_alloc_outside"][3, 1] = 1
    assert read.other_families() == {"AF_UNIX": 4, "AF_PACKET": 1}
    assert read.accepted() == {"AF_INET": 3, "AF_INET6": 1}


def test_a_family_beyond_the_last_has_a_number(kernel):
    read, cpus, _ = kernel
    cpus["sk_alloc_outside"][0, define("FAMILIES") - 1] = 1
    assert read.other_families() == {"63": 1}


def test_system_calls_are_counted_by_where_they_ended(kernel):
    read, cpus, _ = kernel
    assert read.calls() == {}
    words = ("OK", "CREATED", "BEFORE", "IN_CREATE", "AFTER", "UNKNOWN")
    for number, word in enumerate(words, 1):
        cpus["value"][1, define(f"COUNT_CALLS_{word}")] = number
    for word, number in (("CALLS", 30), ("CREATES", 8), ("CREATES_UNKNOWN", 9)):
        cpus["value"][0, define(f"COUNT_{word}")] = number
    assert read.calls() == {
        "returned": 30, "ok": 3, "before": 3, "in_create": 4, "after": 5, "not_told": 6,
        "creates": 8, "created_ok": 2, "creates_not_told": 9,
    }  # fmt: skip
