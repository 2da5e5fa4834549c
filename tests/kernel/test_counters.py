"""The counters as Python reads them, from memory laid out as bpf/counters.h has it."""

import mmap
import os
import re

import numpy as np
import pytest

from inetprobe.kernel.maps import counters
from inetprobe.record.batch import Loss
from inetprobe.record.cheader import bpf_folder
from inetprobe.record.layout import define

CPUS = 3
CALLS = 8
SOURCE = "".join((bpf_folder() / name).read_text() for name in ("counters.h", "thread.h"))


@pytest.fixture
def kernel():
    """(the counters, what the kernel would write: [CPU, word] and [slot, word])."""

    def create(size):
        fd = os.memfd_create("a map")
        os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        return fd

    read = counters.Counters(CPUS, CALLS, create)
    its = read.constants()
    _, words = counters.map_array(its["COUNTERS_FD"], CPUS, its["COUNTERS_BYTES"] // 8, writable=True)
    _, slots = counters.map_array(its["SLOTS_FD"], 1 << its["SLOT_BITS"], its["SLOT_BYTES"] // 8, writable=True)
    yield read, words, slots
    read.close()
    for fd in its["COUNTERS_FD"], its["SLOTS_FD"]:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def members(name):
    body = re.search(rf"struct {name} \{{(.*?)\n\}};", SOURCE, re.DOTALL)[1]
    return [
        (member, define(length) if length else 1) for member, length in re.findall(r"u64 (\w+)(?:\[(\w+)\])?;", body)
    ]


def test_the_layout_is_the_header_s():
    cpu, slot = members("cpu_counters"), members("slot")
    assert [name for name, _ in cpu] == ["value", "on", "seq", "sk_alloc_outside", "sk_prot_alloc_outside"]
    assert sum(length for _, length in cpu) == counters._WORDS
    assert [name for name, _ in slot[:3]] == ["runs", "sk_alloc_outside", "sk_prot_alloc_outside"]
    assert slot[0][1] == counters._ALLOCATED
    assert slot[0][1] + slot[1][1] == counters._CLONED


def test_cpus_and_slots_add_up(kernel):
    read, words, slots = kernel
    words[:, define("COUNT_ENTRIES")] = [1, 2, 4]
    assert read.read("entries") == 7
    slots[:, 2 * 3 + 1] = 5
    assert (read.runs(3, "return"), read.runs(3, "entry")) == (5 * len(slots), 0)


def test_every_cpu_is_told_to_begin_and_to_stop(kernel):
    read, words, _ = kernel
    read.begin(on=True)
    assert words[:, counters._ON].tolist() == [1] * CPUS
    read.begin(on=False)
    assert not words.any()


def test_a_loss_is_told_once(kernel):
    read, words, _ = kernel
    words[0, define("COUNT_LOST_RING_FULL")] = 2
    assert read.new_losses() == (Loss("ring_full", 2),)
    assert read.new_losses() == ()
    words[1, define("COUNT_LOST_RING_FULL")] = 3
    assert read.new_losses() == (Loss("ring_full", 3),)
    assert read.lost() == {"ring_full": 5}


def test_accepted_is_what_sk_alloc_does_not_account_for(kernel):
    read, words, slots = kernel
    unix, packet = 1, 17
    words[0, [counters._OTHER + unix, counters._OUTSIDE + unix]] = 4
    words[1, [counters._OTHER + packet, counters._OUTSIDE + packet]] = 1
    # Two creates of a stranger's, which the filters left out, and three connections; one of IPv6.
    slots[1, counters._ALLOCATED] = 2
    slots[[2, 4], counters._CLONED] = [1, 4]
    slots[3, counters._CLONED + 1] = 1
    assert read.other_families() == {"AF_UNIX": 4, "AF_PACKET": 1}
    assert read.accepted() == {"AF_INET": 3, "AF_INET6": 1}


def test_a_family_beyond_the_last_has_a_number(kernel):
    read, words, _ = kernel
    words[0, counters._OTHER + define("FAMILIES") - 1] = np.uint64(1)
    assert read.other_families() == {"63": 1}
