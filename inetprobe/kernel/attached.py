"""The program attached to this kernel, and the batches of its ring: what both live sources are made of."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from inetprobe.base.errors import HostError
from inetprobe.kernel import host_checks, libbcc
from inetprobe.kernel.backlog import Backlog
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.frames.bcc_symbols import KERNEL, SymbolCache
from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.frames.naming import Naming
from inetprobe.kernel.host import btf, clock, probed_profile, rcu, tracefs
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import CONFIGURED, SECCOMP, Symbols
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.process_reader import ProcessReader
from inetprobe.kernel.program.compiler import no_libbcc
from inetprobe.kernel.program.program import Program
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.model.profile import Profile
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import (
    FUNCTIONS_WITH_SECCOMP,
    INCOMPLETE_FLAGS,
    SLOTS,
    SLOTS_ALSO,
    reasons,
    record_dtype,
)
from inetprobe.record.run import Run

#: Seconds between two looks at the ring, where it does not fill sooner.
POLL_S = 0.1
_GRACE_S = 0.5
# Seconds after which the wall clock is read again, and the difference from which on it was set meanwhile: two readings
# of a clock that was not differ by less.
_CLOCK_S, _CLOCK_SET_NS = 1.0, 10**6
_MOST_CGROUPS = 10_000


class Attached:
    """The attached program, its run, and its ring's records in batches. Not thread-safe.

    Closing it detaches the probes.
    """

    def __init__(self, program: Program, run: Run, cgroups: Cgroups, naming: Naming | None = None) -> None:
        """``naming`` numbers the stacks of ``run.stacks``; None without --stack."""
        self.program = program
        self.run = run
        self._cgroups = cgroups
        self._naming = naming
        self._dtype = record_dtype(run.slots, sock=run.sock, stack=run.stack)
        self.backlog = Backlog(self._dtype)
        self._namespace_ns = clock.namespace_offset_ns()
        self._clock_read = time.monotonic()
        self._received = Counter[str | None](dict.fromkeys((None, *INCOMPLETE_FLAGS.values()), 0))

    @classmethod
    def to_kernel(
        cls, options: TraceOptions, say: Say, check_stop: CheckStop = never_stop, *, command_pid: int | None = None
    ) -> Attached:
        """Compiles, loads and attaches; no trace begins before ``program.activate``.

        With ``command_pid`` only that thread group and the threads it starts are traced. Raises UsageError for a
        function or cgroup that does not exist, HostError where this machine cannot be traced.
        """
        host_checks.demand()
        cgroups = Cgroups.of_host()
        types, symbols = btf.Btf.of_kernel(), Symbols.of_kernel()
        target = Target.of_kernel(options, types, symbols, cgroups, follow=command_pid is not None)
        host_checks.demand_probes(target, options.mechanism)
        _say_limits(target, say)
        _remove_leftovers(say)
        profile = _profile(types, symbols, say)
        with contextlib.ExitStack() as undo:
            symbols_of = _open_symbols() if options.stack is not None else None
            reader = ProcessReader(symbols_of) if options.stack is not None and options.stack.user else None
            if reader is not None:
                undo.callback(reader.close)
            program = Program(options, target, say, check_stop)
            undo.callback(program.close)
            run = _describe(options, target, program.mechanisms, profile)
            naming = None
            if symbols_of is not None and options.stack is not None:
                kernel = KernelSymbols(symbols_of(KERNEL)) if options.stack.kernel else None
                naming = Naming(kernel, reader, _functions(target), program.mechanisms, target.symbols)
            attached = cls(program, run, cgroups, naming)
            if command_pid is not None:
                program.follow(command_pid)
            undo.pop_all()
        return attached

    def next(self, timeout_s: float | None) -> Batch:
        """The next batch, empty where no record came in time (None: no limit); the backlog's records come first."""
        ring = self.program.ring
        if not self.backlog:
            if len(self.run.cgroups) > _MOST_CGROUPS:
                self.run.cgroups.clear()  # every record drained so far has been taken
            ring.wait(timeout_s)
            self.drain()
        elif ring.much and not self.backlog.full:
            self.drain()
        return self.backlog.take()

    def let_traces_end(self) -> Iterator[Batch]:
        """The batches until no call is in flight, for at most half a second; to be called once none begins."""
        deadline = time.monotonic() + _GRACE_S
        while (self.in_flight() or self._open_calls()) and time.monotonic() < deadline:
            yield self.next(POLL_S / 10)

    def rest(self) -> Iterator[Batch]:
        """Everything still pending in the ring and in the backlog; to be called once the probes are detached."""
        rcu.synchronize()  # a program may still be between reserving its record and sending it
        self.drain()
        while self.backlog:
            yield self.next(0)

    def drain(self) -> None:
        """Moves the ring's records into the backlog."""
        if time.monotonic() >= self._clock_read + _CLOCK_S:
            self._clock_read = time.monotonic()
            offset_ns = clock.wall_offset_ns(self._namespace_ns)
            if abs(offset_ns - self.run.clock_offset_ns) >= _CLOCK_SET_NS:
                self.run.clock_offset_ns = offset_ns
        # Counters first: a loss counted here is older than any record that was not yet in the ring.
        losses = self.program.counters.new_losses()
        records = self.program.ring.drain()
        if self._naming is not None:
            records = self._naming.numbered(records, self._dtype, self.run.stacks)
        self._received.update(reasons(records["flags"]))
        identities = records["cgroup_id"]
        if (identities == identities[:1]).all():
            identities = identities[:1]  # the common case, which needs no sorting
        for identity in np.unique(identities).tolist():
            if identity not in self.run.cgroups:
                self.run.cgroups[identity] = self._cgroups.path(identity)
        self.backlog.put(Batch(records, losses))

    def in_flight(self) -> int:
        """The number of traces that have begun and not ended."""
        ended = self.program.counters.read("ended")  # first: a trace that ends between the two reads began before
        return self.program.counters.read("begun") - ended

    def _open_calls(self) -> int:
        """The number of system calls, those of no trace included, that have begun and not ended."""
        return Accounting(calls=self.program.counters.calls()).unaccounted_calls()

    def accounting(self, probes: Mapping[str, ProbeCount]) -> Accounting:
        """Where every entry went by now; ``probes`` are the counts of ``program.probe_counts``."""
        counters = self.program.counters
        read = counters.read
        return Accounting(
            entries=read("entries"),
            complete=self._received[None],
            incomplete={reason: n for reason, n in self._received.items() if reason and n},
            lost=counters.lost(),
            filtered=read("filtered"),
            in_flight=self.in_flight(),
            calls=counters.calls(),
            nested=read("nested"),
            foreign=read("foreign"),
            orphan_returns=read("orphan_return"),
            unfollowed=read("unfollowed"),
            other_families=counters.other_families(),
            accepted=counters.accepted(),
            probe_hits={probe: count.hits for probe, count in probes.items() if count.hits is not None},
            probe_misses={probe: count.misses for probe, count in probes.items() if count.misses},
            program_skipped={probe: count.skipped for probe, count in probes.items() if count.skipped},
            stacks_lost={} if self._naming is None else self._naming.lost,
        )

    def close(self) -> None:
        """Detaches the probes and frees everything; to be called once."""
        self.program.close()
        if self._naming is not None:
            self._naming.close()


def _functions(target: Target) -> dict[int, str]:
    present = {*target.functions, *[SECCOMP] * bool(target.seccomp)}
    path = {number: name for number, name in FUNCTIONS_WITH_SECCOMP.items() if name in present}
    return path | {function.number: function.name for function in target.also}


def _open_symbols() -> Callable[[int], SymbolCache]:
    """Opens the symbols of a process by its id, or of the kernel. Raises HostError without libbcc."""
    try:
        return functools.partial(SymbolCache, libbcc.load())
    except OSError as error:
        raise no_libbcc(str(error)) from None


def _describe(options: TraceOptions, target: Target, mechanisms: Mapping[str, str], profile: Profile | None) -> Run:
    return Run(
        kernel=os.uname().release,
        clock_offset_ns=clock.wall_offset_ns(clock.namespace_offset_ns()),
        host=platform.node(),
        machine_id=_machine_id(),
        architecture=platform.machine(),
        mechanisms=dict(mechanisms),
        preemption=target.preemption,
        symbols=target.renamed,
        filters=options.filters.describe(),
        functions=_functions(target),
        slots=SLOTS_ALSO if target.also else SLOTS,
        sock=options.sock,
        stack=options.stack is not None,
        profile=profile,
    )


def _profile(types: btf.Btf, symbols: Symbols, say: Say) -> Profile | None:
    try:
        return probed_profile.probe(types, symbols)
    except HostError as error:
        say(f"traces are not judged: {error}")
        return None


def _say_limits(target: Target, say: Say) -> None:
    """Says which functions the compiler took away; those that the kernel is built without are no surprise."""
    for function, limit in target.symbols.limits().items():
        if function not in CONFIGURED or target.symbols.renamed(function):
            say(limit)
    if target.unseen_kills is not None:
        say(target.unseen_kills)


def _remove_leftovers(say: Say) -> None:
    folder = tracefs.writable()
    removed = tracefs.remove_leftovers(folder) if folder is not None else 0
    if removed:
        say(f"removed {removed} probes left behind by a killed inetprobe")


def _machine_id(path: Path = Path("/etc/machine-id")) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
