"""What is true of a whole run: the machine, the clock, the probes, and how every socket was accounted for.

A live source makes it, a recording stores it, a replay reads it back; sinks need nothing else to show a batch.
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

    ``clock_offset_ns`` added to a record's CLOCK_BOOTTIME start gives nanoseconds since the Unix epoch. ``cgroups``
    grows while the run goes on: cgroup v2 id → path below the cgroup mount, None where it was gone before it could be
    read. ``functions`` maps the number a call carries to the kernel function's name; ``slots`` is how many calls a
    record holds, ``sock`` whether it has the fields of the sock that was made, ``stack`` whether it has the number of
    one of ``stacks``, which grows while the run goes on. ``profile`` is what the model must know of the machine, None
    where nobody wrote it down.
    """

    kernel: str
    clock_offset_ns: int
    host: str | None = None
    machine_id: str | None = None
    architecture: str = "x86_64"
    mechanism: str = "kprobe"
    filters: tuple[str, ...] = ()
    functions: Mapping[int, str] = field(default_factory=lambda: dict(FUNCTIONS))
    slots: int = SLOTS
    sock: bool = False
    stack: bool = False
    profile: Profile | None = None
    cgroups: dict[int, str | None] = field(default_factory=dict)
    stacks: Stacks = field(default_factory=Stacks)
