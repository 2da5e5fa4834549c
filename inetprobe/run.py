"""What is true of a whole run: the machine, the clock, the probes, and how every socket was accounted for.

A live source makes it, a recording stores it, a replay reads it back; sinks need nothing else to show a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from inetprobe.model.profile import Profile
from inetprobe.record import FUNCTIONS, SLOTS
from inetprobe.stacks import Stacks


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


@dataclass(slots=True)
class Accounting:
    """Where every outermost entry of inet_create and inet6_create went.

    ``entries`` is counted in the kernel when the probe is hit; ``complete`` and ``incomplete`` are the records that
    arrived. The identity: entries = complete + incomplete + lost + filtered + in_flight.

    Apart from it: ``nested`` creates within another's; ``foreign`` calls of interrupts, set aside; ``orphan_returns``,
    returns without an entry; ``unfollowed`` children of COMMAND; by address family ``other_families``, calls of
    sk_alloc that no create made, and ``accepted``, socks cloned for accepted connections. By probe
    (``inet_create:entry``): ``probe_hits`` and ``probe_misses`` as the kernel counts them, and ``program_skipped``,
    hits on which the kernel did not run the program. ``stacks_lost`` are the stacks without all of their frames, by
    side and reason (``user:exited``).
    """

    entries: int = 0
    complete: int = 0
    incomplete: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    filtered: int = 0
    in_flight: int = 0
    nested: int = 0
    foreign: int = 0
    orphan_returns: int = 0
    unfollowed: int = 0
    other_families: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    probe_hits: dict[str, int] = field(default_factory=dict)
    probe_misses: dict[str, int] = field(default_factory=dict)
    program_skipped: dict[str, int] = field(default_factory=dict)
    stacks_lost: dict[str, int] = field(default_factory=dict)

    def unaccounted(self) -> int:
        """Entries minus everything they can have become: 0 when the identity holds."""
        ended = self.complete + sum(self.incomplete.values()) + sum(self.lost.values())
        return self.entries - ended - self.filtered - self.in_flight

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, in the summary line and in a recording; of stacks only where some are not whole."""
        said = asdict(self)
        if not self.stacks_lost:
            del said["stacks_lost"]
        return said

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Accounting:
        """The inverse of ``to_dict``; keys of a newer 1.x are left out."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**known)
