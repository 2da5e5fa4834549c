"""A grace period of RCU (Documentation/RCU/whatisRCU.rst): the end of all that runs in the kernel at this moment."""

from __future__ import annotations

import os
import time

from inetprobe.kernel.host import syscall

_MEMBARRIER_CMD_GLOBAL = 1  # of include/uapi/linux/membarrier.h
# Thousands of times as long as a program runs.
_INSTEAD_S = 0.05


def synchronize() -> None:
    """Returns once every BPF program that is running now has ended: each runs in a read-side critical section.

    MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel/sched/membarrier.c) and asks for no capability. Where the kernel
    refuses it (nohz_full=, or no CONFIG_MEMBARRIER), and on one CPU, where it does nothing, this sleeps instead: then a
    program that was preempted goes on.
    """
    _, error = syscall.call("membarrier", _MEMBARRIER_CMD_GLOBAL, 0, 0)
    if error or os.cpu_count() == 1:
        time.sleep(_INSTEAD_S)
