"""The attached probes, and how often the kernel hit, missed and skipped each."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from inetprobe.base.errors import HostError, InetprobeError
from inetprobe.kernel.callbacks import CheckStop, Say
from inetprobe.kernel.host import rcu, syscall, tracefs
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.program.loaded import Loaded, LoadError
from inetprobe.kernel.program.target import Target
from inetprobe.record.layout import FUNCTIONS, sides

_READINGS = 5

#: How often the program of a function's side has run.
Runs = Callable[[str, str], int]


# The kernel's own ENOTSUPP (include/linux/errno.h), which C libraries do not have.
_ENOTSUPP = 524


class FentryRefused(InetprobeError):
    """The kernel traces this function by no trampoline, or none at all where it is None; the text says why."""

    def __init__(self, function: str | None, why: str) -> None:
        super().__init__(why)
        self.function = function


class _AttachedKprobe(NamedTuple):
    function: str
    side: str
    program: int
    kprobe: Kprobe


class _Link(NamedTuple):
    """A tracing program's; ``name`` is a function, or the event of a tracepoint."""

    name: str
    side: str
    program: int
    fd: int


class _Reading(NamedTuple):
    hits: int | None
    misses: int
    min_skips: int
    max_skips: int


class Probes:
    """The probes of a target, attached and detached together. Not thread-safe."""

    def __init__(self, target: Target, numbers: Mapping[str, int], maxactive: int, say: Say) -> None:
        """``numbers``: each function's in the record. ``maxactive``: returns that a kretprobe awaits at once.

        Raises HostError where tracefs is closed to this process.
        """
        self._target = target
        self._numbers = numbers
        self._maxactive = maxactive
        self._say = say
        folder = tracefs.writable()
        # Held open, it is not unmounted by mistake; where it is unmounted lazily, its files are reached all the same.
        self._held = None if folder is None else os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tracefs = None if self._held is None else Path(f"/proc/self/fd/{self._held}")
        self._kprobes: list[_AttachedKprobe] = []
        self._fentries: list[_Link] = []
        #: Those of the programs that follow threads.
        self.tracepoints: list[_Link] = []
        self._skips_before: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self._missing_misses_said = False

    @property
    def unnamed(self) -> bool:
        """Are there kprobes that have no names, because tracefs cannot be written?"""
        return self._tracefs is None and bool(self._kprobes)

    def load(self, loaded: Loaded, mechanism: str, function: str, side: str) -> int:
        """Loads the program of a function's side; its descriptor. Raises LoadError."""
        if mechanism == "fentry":
            type_ = syscall.FENTRY if side == "entry" else syscall.FEXIT
            return loaded.load(f"{side}_{function}", type_, self._target.fentry[function])
        return loaded.load(f"{side}_{function}", syscall.KPROBE)

    def attach(self, loaded: Loaded, mechanisms: Mapping[str, str], check_stop: CheckStop) -> None:
        """Attaches every probe to functions of ``loaded``; may be called again after ``detach``.

        ``mechanisms``: ``fentry`` or ``kprobe`` by function. Raises HostError, FentryRefused and what ``check_stop``
        raises, with what is attached by then.
        """
        self._attach_tracepoint(loaded, "sched_process_exit", "thread_exit")
        if self._target.follow:
            self._attach_tracepoint(loaded, "sched_process_fork", "follow_fork")
        # Innermost first: every call that an entry opens is sure to be closed.
        for function in reversed(self._target.functions):
            check_stop()
            attach = self._attach_fentry if mechanisms[function] == "fentry" else self._attach_kprobe
            for side in sides(function):
                attach(loaded, function, side)

    def detach(self) -> None:
        """Detaches every probe. Idempotent."""
        for links in (self.tracepoints, self._fentries):
            while links:
                os.close(links.pop().fd)
        while self._kprobes:
            function, side, _, kprobe = self._kprobes.pop()
            try:
                kprobe.close()
            except OSError as error:  # the next start removes it
                self._say(f"the kprobe {kprobe.event} ({function}, {side}) stays in tracefs: {error.strerror}")

    def close(self) -> None:
        """Detaches every probe for good; to be called once."""
        self.detach()
        if self._held is not None:
            os.close(self._held)

    def begin(self, runs: Runs) -> None:
        """``counts`` has the skips from now on."""
        # A kprobe counts hits from the moment it is set; its program runs a little later.
        self._skipped.clear()
        self._skips_before = {probe: reading.max_skips for probe, reading in self._kprobe_readings(runs).items()}

    def counts(self, runs: Runs) -> dict[str, ProbeCount]:
        """Hits, misses and skips of each probe by its name (``sk_alloc:entry``) since ``begin``, while attached.

        The kernel itself counts the skips of fentry programs, of the tracepoints that follow threads
        (``sched_process_fork:entry``, only listed with skips), and from Linux 6.7 on those of kprobes. Before, a
        kprobe's skips are its hits minus its program's runs. The two cannot be read at one instant, so under load calls
        between them may hide as many skips: those known from an earlier reading stay, and a skip that did not happen is
        never counted.
        """
        counts = {}
        for function, side, program, _ in self._fentries:
            skips = syscall.program_info(program).recursion_misses
            if skips is not None:
                counts[f"{function}:{side}"] = ProbeCount(None, 0, skips)
        if len(counts) < len(self._fentries) and not self._missing_misses_said:
            self._missing_misses_said = True
            self._say("this kernel does not count skipped fentry programs")
        for event, side, program, _ in self.tracepoints:
            if skips := syscall.program_info(program).recursion_misses:
                counts[f"{event}:{side}"] = ProbeCount(None, 0, skips)
        for probe, reading in self._confirmed(self._kprobe_readings(runs), runs).items():
            known = max(self._skipped.get(probe, 0), reading.min_skips - self._skips_before.get(probe, 0))
            self._skipped[probe] = known
            counts[probe] = ProbeCount(reading.hits, reading.misses, known)
        return counts

    def _confirmed(self, readings: dict[str, _Reading], runs: Runs) -> dict[str, _Reading]:
        """The readings, but only with skips that are still there once every program that was about to run has run: a
        hit is counted before its program runs, and a virtual CPU may stand still in between."""
        if self._target.counts_skips or all(
            reading.min_skips - self._skips_before.get(probe, 0) <= self._skipped.get(probe, 0)
            for probe, reading in readings.items()
        ):
            return readings
        rcu.synchronize()
        later = self._kprobe_readings(runs)
        return {
            probe: reading._replace(min_skips=min(reading.min_skips, later[probe].min_skips))
            for probe, reading in readings.items()
        }

    def _kprobe_readings(self, runs: Runs) -> dict[str, _Reading]:
        """Of each kprobe that is counted."""
        if self._target.counts_skips:
            return self._readings_of_kernel()
        return self._readings_of_runs(runs) if self._tracefs is not None and self._kprobes else {}

    def _readings_of_kernel(self) -> dict[str, _Reading]:
        """Those of a kernel that counts skips: exact. Without a writable tracefs hits and misses are not known."""
        profile = tracefs.profile(self._tracefs) if self._tracefs is not None and self._kprobes else {}
        readings = {}
        for function, side, program, kprobe in self._kprobes:
            hits, misses = profile.get(kprobe.event or "", (None, 0))
            skips = syscall.program_info(program).recursion_misses
            assert skips is not None, "a kernel that counts those of kprobes counts those of every program"
            readings[f"{function}:{side}"] = _Reading(hits, misses, skips, skips)
        return readings

    def _readings_of_runs(self, runs: Runs) -> dict[str, _Reading]:
        """The tightest bounds of a few readings of hits and runs."""
        assert self._tracefs is not None
        readings: dict[str, _Reading] = {}
        for _ in range(_READINGS):
            before = self._all_runs(runs)
            profile = tracefs.profile(self._tracefs)
            after = self._all_runs(runs)
            for function, side, _, kprobe in self._kprobes:
                hits, misses = profile.get(kprobe.event or "", (0, 0))
                probe = f"{function}:{side}"
                min_skips, max_skips = hits - after[probe], hits - before[probe]
                if probe in readings:
                    min_skips = max(min_skips, readings[probe].min_skips)
                    max_skips = min(max_skips, readings[probe].max_skips)
                readings[probe] = _Reading(hits, misses, min_skips, max_skips)
        return readings

    def _all_runs(self, runs: Runs) -> dict[str, int]:
        return {f"{name}:{side}": runs(name, side) for name, side, _, _ in self._kprobes}

    def _attach_fentry(self, loaded: Loaded, function: str, side: str) -> None:
        try:
            program = self.load(loaded, "fentry", function, side)
            self._fentries.append(_Link(function, side, program, syscall.attach(program)))
        except LoadError as error:
            raise FentryRefused(function, str(error)) from error
        except OSError as error:
            # A function of --also may be refused so for itself, since it takes too many arguments.
            if error.errno in (_ENOTSUPP, errno.EOPNOTSUPP) and function in FUNCTIONS.values():
                raise FentryRefused(None, "it was built without direct calls from ftrace") from error
            raise FentryRefused(function, f"the kernel has no trampoline for it: {error.strerror}") from error

    def _attach_kprobe(self, loaded: Loaded, function: str, side: str) -> None:
        maxactive = self._maxactive if side == "return" else None
        symbol = self._target.renamed.get(function, function)
        try:
            program = self.load(loaded, "kprobe", function, side)
            kprobe = Kprobe.attach(self._tracefs, program, symbol, self._numbers[function], maxactive)
        except LoadError as error:
            raise HostError(
                f"the kernel refused inetprobe's BPF program {error}: -v shows the verifier's whole log, "
                "and inetprobe doctor what this machine lacks"
            ) from error
        except OSError as error:
            raise HostError(
                f"cannot attach to {function}: {error.strerror}: inetprobe doctor says what this machine lacks"
            ) from error
        self._kprobes.append(_AttachedKprobe(function, side, program, kprobe))

    def _attach_tracepoint(self, loaded: Loaded, event: str, name: str) -> None:
        try:
            program = loaded.load(name, syscall.RAW_TRACEPOINT)
            self.tracepoints.append(_Link(event, "entry", program, syscall.attach(program, event)))
        except (LoadError, OSError) as error:
            reason = error if isinstance(error, LoadError) else error.strerror
            raise HostError(
                f"the kernel refuses the tracepoint {event}: {reason}: inetprobe doctor says what this machine lacks"
            ) from error
