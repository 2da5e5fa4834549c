"""The -D constants of bpf/inetprobe.bpf.c: what one set of options and one kernel make of the program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inetprobe.kernel.host import pidns
from inetprobe.kernel.maps.ring import MUCH
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import record_dtype

_WAKEUP_RECORDS = 64


def record(options: TraceOptions, target: Target) -> np.dtype[np.void]:
    """The record that the program sends."""
    stack = options.stack is not None
    return record_dtype(target.slots, sock=options.sock, stack=stack, frames=stack)


def of_program(
    options: TraceOptions, target: Target, mechanisms: Mapping[str, str], *, cpus: int, task_storage: bool
) -> dict[str, object]:
    """Every constant by its name, a macro's with its parameters; ``mechanisms``: ``kprobe`` or ``fentry`` of each
    traced function."""
    window = options.ring_size if options.counting else _WAKEUP_RECORDS * record(options, target).itemsize
    constants: dict[str, object] = {
        **target.offsets,
        **target.constants,
        **{f"MECHANISM_{function}": mechanism.upper() for function, mechanism in mechanisms.items()},
        "KERNEL": f"{target.symbols.image.start:#x}ULL",
        "KERNEL_BYTES": f"{len(target.symbols.image)}ULL",
        "CPUS": cpus,
        # CPUs that send at once may all miss the exact byte at which to wake the reader: hence the window.
        "WAKEUP_BYTES": 0 if options.counting else int(options.ring_size * MUCH),
        "WAKEUP_WINDOW": f"{window}ULL",
        "STACK_SIZE": target.stack_size,
        "INETPROBE_CALLS": target.slots,
        "SK_PROT_ALLOC_ARGUMENTS": int("sk_prot_alloc" not in target.renamed),
    }
    if task_storage:
        constants["TASK_STORAGE"] = 1
    if target.preemption:
        constants["PREEMPTIBLE"] = 1
    if target.kfuncs:
        constants["PREEMPT_KFUNCS"] = 1
    if target.follow:
        constants["FOLLOW"] = 1
        if not pidns.is_initial():
            own = pidns.OWN.stat()
            constants |= {"PIDNS_INO": f"{own.st_ino}ULL", "PIDNS_DEV": own.st_dev}
    if options.filters.beyond_inet:
        constants["BARE"] = 1
    if options.counting is not None:
        constants |= options.counting.constants()
    if target.also:
        constants["ALSO(X)"] = " ".join(also.entry(mechanisms[also.name]) for also in target.also)
    return constants
