"""The counters as Python reads them, from memory laid out as bpf/inetprobe.bpf.c has it."""

import os
import re

import numpy as np
import pytest

from inetprobe.kernel import counters
from inetprobe.record import Loss, bpf_folder, define

CPUS = 3
SOURCE = (bpf_folder() / "inetprobe.bpf.c").read_text()


@pytest.fixture
def kernel():
    """(the counters, what the kernel would write: [CPU, word])."""
    fd = os.memfd_create("counters")
    os.ftruncate(fd, 1 << 16)
    read = counters.Counters(fd, CPUS)
    _, words = counters.map_array(fd, CPUS, counters._SLOTS, writable=True)
    yield read, words
    read.close()
    os.close(fd)


def test_the_layout_is_the_header_s():
    body = re.search(r"struct cpu_counters \{(.*?)\n\};", SOURCE, re.DOTALL)[1]
    fields = re.findall(r"u64 (\w+)\[(\w+)\];", body)
    assert [name for name, _ in fields] == ["value", "seq", "runs", "other", "outside"]
    assert sum(define(length) for _, length in fields) == counters._SLOTS


def test_cpus_add_up(kernel):
    read, words = kernel
    words[:, define("COUNT_ENTRIES")] = [1, 2, 4]
    assert read.read("entries") == 7
    words[:, counters._RUNS + 2 * 3 + 1] = 5
    assert (read.runs(3, "return"), read.runs(3, "entry")) == (15, 0)


def test_a_loss_is_told_once(kernel):
    read, words = kernel
    words[0, define("COUNT_LOST_RING_FULL")] = 2
    assert read.new_losses() == (Loss("ring_full", 2),)
    assert read.new_losses() == ()
    words[1, define("COUNT_LOST_RING_FULL")] = 3
    assert read.new_losses() == (Loss("ring_full", 3),)
    assert read.lost() == {"ring_full": 5}


def test_accepted_is_what_sk_alloc_does_not_account_for(kernel):
    read, words = kernel
    inet, unix, packet = 2, 1, 17
    words[0, [counters._OTHER + unix, counters._OUTSIDE + unix]] = 4
    words[1, [counters._OTHER + packet, counters._OUTSIDE + packet]] = 1
    # Two creates of a stranger's, which the filters left out, and three connections.
    words[1, counters._OTHER + inet] = 2
    words[2, counters._OUTSIDE + inet] = 5
    assert read.other_families() == {"AF_UNIX": 4, "AF_PACKET": 1}
    assert read.accepted() == {"AF_INET": 3}


def test_a_family_beyond_the_last_has_a_number(kernel):
    read, words = kernel
    words[0, counters._OTHER + define("FAMILIES") - 1] = np.uint64(1)
    assert read.other_families() == {"63": 1}
