"""The live source: this machine's kernel.

Records arrive in batches a tenth of a second apart, or sooner when the ring fills. The source ends when it is told to
stop, when its time is up, or when COMMAND ends; then no new trace begins, those in flight get a moment to end, and the
ring is emptied once more.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inetprobe.base.errors import HostError
from inetprobe.kernel.backlog import Backlog
from inetprobe.kernel.frames import naming
from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.frames.user_frames import UserSymbols
from inetprobe.kernel.host import btf, privileges, probed_profile, tracefs
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.program import also, kernel_filter, sock
from inetprobe.kernel.program import program as bpf
from inetprobe.kernel.program import program_options as plan
from inetprobe.kernel.traced_command import Command
from inetprobe.model.profile import Profile
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.layout import (
    FUNCTIONS,
    INCOMPLETE_FLAGS,
    SLOTS,
    SLOTS_ALSO,
    reasons,
    record_dtype,
)
from inetprobe.record.run import Run

#: Bytes: some 22,000 records.
RING_SIZE = 1 << 23
_POLL_S = 0.1
_GRACE_S = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What to trace and how.

    ``ring_size`` is in bytes; ``maxactive`` None for what the machine calls for; ``also`` names more functions, commas
    between them allowed; ``sock``: read the fields of each sock that was made; ``stack``: whose stacks to show.
    ``duration_s`` is in seconds, None for until stopped. ``counting`` is how the kernel counts for
    ``kernel.counting``, None for a trace of every socket; ``verbose``: give the user the compiler's and the verifier's
    whole log.
    """

    filters: Filters = field(default_factory=Filters)
    ring_size: int = RING_SIZE
    maxactive: int | None = None
    mechanism: str = "auto"
    also: tuple[str, ...] = ()
    duration_s: float | None = None
    sock: bool = False
    stack: naming.StackOptions | None = None
    counting: Counting | None = None
    verbose: bool = False


class LiveSource:
    """Traces of the running kernel. Not thread-safe, but ``stop`` may be called from a signal handler."""

    _naming: naming.Naming | None = None

    def __init__(
        self, options: LiveOptions, command: Command | None, say: Say, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """Compiles, loads and attaches; nothing is traced yet. ``go_on`` is called between the steps, which take
        seconds, and may raise to give up. Raises HostError where this machine cannot be traced."""
        self._options = options
        self._command = command
        self._go_on = go_on
        self._stopping = False
        #: Has anything been traced, or could it have been?
        self.began = False
        self._cgroups = Cgroups.of_host()
        self._probes: dict[str, ProbeCount] = {}
        self._received = Counter[str | None](dict.fromkeys((None, *INCOMPLETE_FLAGS.values()), 0))
        with contextlib.ExitStack() as undo:
            self._program = self._build(say)
            undo.callback(self._program.close)
            self.run = self._describe()
            self._dtype = record_dtype(self.run.slots, sock=self.run.sock, stack=self.run.stack)
            self._backlog = Backlog(self._dtype)
            if options.stack is not None:
                self._naming = self._name_by(options.stack)
            if command is not None:
                self._program.follow(command.pid)
            undo.pop_all()

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stopping(self) -> bool:
        """Has it been told to stop?"""
        return self._stopping

    def start(self) -> None:
        """From now on creations are traced; COMMAND still waits."""
        self._program.activate()
        self.began = self._command is None

    def stop(self) -> None:
        """Asks ``batches`` to end soon; before it has begun, to leave COMMAND where it waits."""
        self._stopping = True
        self._program.ring.wake()

    def batches(self) -> Iterator[Batch]:
        """Batches as they come, an empty one when nothing did; blocks up to a tenth of a second for each.

        COMMAND is let go first. To be called once, after ``start``. Raises CommandError if it cannot be run.
        """
        duration_s = self._options.duration_s
        deadline = None if duration_s is None else time.monotonic() + duration_s
        if self._command is not None and not self._stopping:
            self._command.release()
            self.began = True
        while not self._over(deadline):
            yield self._next(_POLL_S)
        self._program.deactivate()
        yield from self._let_them_end()
        self._probes = self._program.probe_counts()
        self._program.detach()
        yield from self._rest()

    def _let_them_end(self) -> Iterator[Batch]:
        grace = time.monotonic() + _GRACE_S
        while self._in_flight() and time.monotonic() < grace:
            yield self._next(_POLL_S / 10)

    def _rest(self) -> Iterator[Batch]:
        """Everything that is still pending, in the ring and here."""
        self._drain()
        while self._backlog:
            yield self._next(0)

    def accounting(self) -> Accounting:
        """Where every entry went; complete once ``batches`` has ended."""
        read = self._program.counters.read
        return Accounting(
            entries=read("entries"),
            complete=self._received[None],
            incomplete={reason: n for reason, n in self._received.items() if reason and n},
            lost=self._program.counters.lost(),
            filtered=read("filtered"),
            in_flight=self._in_flight(),
            nested=read("nested"),
            foreign=read("foreign"),
            orphan_returns=read("orphan_return"),
            unfollowed=read("unfollowed"),
            other_families=self._program.counters.other_families(),
            accepted=self._program.counters.accepted(),
            probe_hits={probe: count.hits for probe, count in self._probes.items() if count.hits is not None},
            probe_misses={probe: count.misses for probe, count in self._probes.items() if count.misses},
            program_skipped={probe: count.skipped for probe, count in self._probes.items() if count.skipped},
            stacks_lost={} if self._naming is None else self._naming.lost,
        )

    def close(self) -> None:
        """Takes the probes away and frees everything; to be called once."""
        self._program.close()
        if self._naming is not None:
            self._naming.close()

    @property
    def program(self) -> bpf.Program:
        """What runs in the kernel."""
        return self._program

    def _over(self, deadline: float | None) -> bool:
        ended = self._command is not None and self._command.poll() is not None
        return self._stopping or ended or (deadline is not None and time.monotonic() >= deadline)

    def _next(self, timeout_s: float | None) -> Batch:
        """The next batch, empty where nothing came in time; what waits here goes first."""
        ring = self._program.ring
        if not self._backlog:
            ring.wait(timeout_s)
            self._drain()
        elif ring.much and not self._backlog.full:
            self._drain()
        return self._backlog.take()

    def _drain(self) -> None:
        # Counters first: a loss counted here is older than any record that was not yet in the ring.
        losses = self._program.counters.new_losses()
        records = self._program.ring.drain()
        if self._naming is not None:
            records = self._naming.numbered(records, self._dtype, self.run.stacks)
        self._received.update(reasons(records["flags"]))
        identities = records["cgroup_id"]
        if (identities == identities[:1]).all():
            identities = identities[:1]  # as it mostly is; else they are to be sorted
        for identity in np.unique(identities).tolist():
            if identity not in self.run.cgroups:
                self.run.cgroups[identity] = self._cgroups.path(identity)
        self._backlog.put(Batch(records, losses))

    def _in_flight(self) -> int:
        ended = self._program.counters.read("ended")  # first: what ends between the two began before
        return self._program.counters.read("begun") - ended

    def _build(self, say: Say) -> bpf.Program:
        options = self._options
        if platform.machine() not in plan.MACHINES:
            raise HostError(f"this is {platform.machine()}: inetprobe knows the registers of x86_64 only")
        privileges.demand()
        types = btf.Btf.of_kernel()
        self._symbols = symbols = Symbols.of_kernel()
        self._also = also.resolve(options.also, symbols, types)
        functions = (*symbols.present(), *(function.name for function in self._also))
        _remove_leftovers(say)
        self._profile = _profile(types, symbols, say)
        program = plan.ProgramOptions(
            offsets=btf.offsets(types),
            fentry=plan.fentry_functions(types, functions),
            mechanism=options.mechanism,
            ring_size=options.ring_size,
            maxactive=options.maxactive or plan.default_maxactive(),
            filters=kernel_filter.constants(options.filters, self._cgroups, follow=self._command is not None),
            follow=self._command is not None,
            also=self._also,
            bare=options.filters.beyond_inet,
            sock=sock.constants(types) if options.sock else {},
            stack={} if options.stack is None else options.stack.constants(types, symbols),
            counting=options.counting,
            verbose=options.verbose,
        )
        return bpf.Program(program, symbols, say, self._go_on)

    def _name_by(self, wanted: naming.StackOptions) -> naming.Naming:
        program = self._program
        kernel = KernelSymbols(program.symbols()) if wanted.kernel else None
        user = UserSymbols(program.symbols) if wanted.user else None
        return naming.Naming(kernel, user, self.run.functions, program.mechanisms, self._symbols)

    def _describe(self) -> Run:
        return Run(
            kernel=os.uname().release,
            clock_offset_ns=_clock_offset_ns(),
            host=platform.node(),
            machine_id=_machine_id(),
            architecture=platform.machine(),
            mechanisms=dict(self._program.mechanisms),
            filters=self._options.filters.describe(),
            functions=FUNCTIONS | {function.number: function.name for function in self._also},
            slots=SLOTS_ALSO if self._also else SLOTS,
            sock=self._options.sock,
            stack=self._options.stack is not None,
            profile=self._profile,
        )


def _profile(types: btf.Btf, symbols: Symbols, say: Say) -> Profile | None:
    try:
        return probed_profile.probe(types, symbols)
    except HostError as error:
        say(f"traces are not judged: {error}")
        return None


def _remove_leftovers(say: Say) -> None:
    folder = tracefs.tracefs()
    removed = tracefs.remove_leftovers(folder) if folder is not None else 0
    if removed:
        say(f"removed {removed} probes that an inetprobe which was killed had left")


def _clock_offset_ns() -> int:
    """What to add to CLOCK_BOOTTIME for nanoseconds since the Unix epoch: the tightest of a few readings."""
    best = None
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if best is None or after - before < best[0]:
            best = after - before, wall - (before + after) // 2
    assert best is not None
    return best[1]


def _machine_id(path: Path = Path("/etc/machine-id")) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
