"""What is true of a whole run: the machine, the clock, the probes.

A live source makes it, a recording stores it, and a replay reads it back. A sink needs nothing else to show a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inetprobe.model.profile import Profile
from inetprobe.record.layout import FUNCTIONS, SLOTS
from inetprobe.record.stacks import Stacks


@dataclass(slots=True)
class Run:
    """The facts of one run.

    ``clock_offset_ns`` added to a record's start, by the kernel's boot clock, gives nanoseconds since the Unix epoch.
    It is that of the last batch: the wall clock may be set while the run goes on. ``functions`` maps the number in a
    call to the name of the traced kernel function, and ``mechanisms`` that name to how the function was attached
    (``fentry``, ``kprobe``). ``symbols`` maps the name of a function that the compiler renamed to its name in
    /proc/kallsyms (``sk_prot_alloc.isra.0``). ``preemption`` is the model by which the kernel preempts itself
    (``full``, ``lazy``, ``rt``, ``unknown``), None where it does not: where it does, it may skip fentry programs.
    ``slots`` is how many calls a record has room for; ``sock`` and ``stack`` say whether it has the sock's fields and
    the number of a stack. ``profile`` is the machine as the model needs to know it, None where it was not recorded.

    Two members grow while the run goes on: ``cgroups``, from a cgroup v2 id to the path below the cgroup mount, None
    where the cgroup was gone before its path could be read; and ``stacks``.
    """

    kernel: str
    clock_offset_ns: int
    host: str | None = None
    machine_id: str | None = None
    architecture: str = "x86_64"
    mechanisms: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(FUNCTIONS.values(), "kprobe"))
    preemption: str | None = None
    symbols: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    functions: Mapping[int, str] = field(default_factory=lambda: dict(FUNCTIONS))
    slots: int = SLOTS
    sock: bool = False
    stack: bool = False
    profile: Profile | None = None
    cgroups: dict[int, str | None] = field(default_factory=dict)
    stacks: Stacks = field(default_factory=Stacks)
