"""The BPF program's life: compile → load → attach → activate, and back.

Handlers begin no trace until ``activate``, so no trace begins half attached; ``deactivate`` lets the open ones end.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from inetprobe.base.errors import HostError, InetprobeError
from inetprobe.base.text import printable
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.host import pidns, syscall, tracefs
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps import definitions
from inetprobe.kernel.maps.cells import Cells
from inetprobe.kernel.maps.counters import Counters
from inetprobe.kernel.maps.ring import Ring
from inetprobe.kernel.program import constants
from inetprobe.kernel.program.compiler import compiled
from inetprobe.kernel.program.loaded import Loaded, LoadError
from inetprobe.kernel.program.target import Target, default_maxactive
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import FUNCTIONS
from inetprobe.stats.snapshot import ProgramCost

_TASK_STORAGE_HELPER = "bpf_task_storage_get"
_READINGS = 5


class Program:
    """The compiled, loaded and attached program with its maps. Not thread-safe."""

    def __init__(self, options: TraceOptions, target: Target, say: Say, check_stop: CheckStop = never_stop) -> None:
        """Compiles, loads and attaches; no trace begins before ``activate``.

        ``target`` is made from the same ``options``. Raises HostError and what ``check_stop`` raises, with nothing left
        attached.
        """
        self._say = say
        self._check_stop = check_stop
        self._options = options
        self._target = target
        self._whole_log = say if options.verbose else None
        self._numbers = {name: number for number, name in FUNCTIONS.items()} | {f.name: f.number for f in target.also}
        self._functions = target.functions
        self._maxactive = options.maxactive or default_maxactive()
        self._task_storage = _TASK_STORAGE_HELPER in target.symbols
        self._tracefs = tracefs.writable()
        self._kprobes: list[tuple[str, str, Kprobe]] = []
        self._fentries: list[tuple[str, str, int, int]] = []
        self._tracepoints: list[tuple[str, int, int]] = []
        self._skips_before: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self._missing_misses_said = False
        self._loaded = Loaded({}, {}, None)
        #: The descriptors of the maps, by their names in bpf/maps.h.
        self.maps: dict[str, int] = {}
        self.mechanisms = target.mechanisms(options.mechanism)
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_maps)
            undo.callback(lambda: self._loaded.close())
            undo.callback(self.detach)
            cpus, slots = possible_cpus(), target.slots
            counting = options.counting
            self._create_maps(
                definitions.of_program(
                    ring_size=options.ring_size,
                    cpus=cpus,
                    calls=slots,
                    serve=counting is not None,
                    follow=target.follow,
                    bare=options.filters.beyond_inet,
                    cgroups=len(target.cgroups),
                )
            )
            self._name_cgroups()
            self._build_and_attach()
            try:
                self.counters = Counters(self.maps["counters"], self.maps["slots"], cpus, slots)
                self.ring = Ring(self.maps["records"], options.ring_size, constants.record(self._options, self._target))
                self.cells = None if counting is None else Cells(self.maps["cells"], cpus, len(counting.bounds_ns))
            except OSError as error:
                raise _MapRefusedError(error) from None
            undo.pop_all()
        if self._tracefs is None and self._kprobes:
            say(
                "tracefs cannot be written: kprobes have no names, the kernel counts neither their hits nor their "
                "misses, and at most 10 returns, or 2 per CPU, are awaited at once"
            )

    def follow(self, pid: int) -> None:
        """Traces only the thread group ``pid`` and the processes it starts from now on. Raises HostError."""
        try:
            if pidns.is_initial():
                syscall.update(self.maps["followed"], struct.pack("=I", pid), b"\1")
            else:  # the program translates it to the initial namespace when it first meets it
                syscall.update(self.maps["command"], struct.pack("=I", 0), struct.pack("=Q", pid))
        except OSError as error:
            raise HostError(
                f"COMMAND cannot be followed: {error.strerror}: inetprobe doctor says what this machine lacks"
            ) from None

    def activate(self) -> None:
        """Traces begin from now on."""
        # A kprobe counts hits from the moment it is set; its program runs a little later.
        self._skipped.clear()
        self._skips_before = {probe: max_skips for probe, (_, _, _, max_skips) in self._kprobe_counts().items()}
        self.counters.begin(on=True)

    def deactivate(self) -> None:
        """No trace begins from now on; those in flight still end."""
        self.counters.begin(on=False)

    def probe_counts(self) -> dict[str, ProbeCount]:
        """Hits, misses and skips of each probe by its name (``sk_alloc:entry``) since ``activate``, while attached.

        The kernel itself counts the skips of fentry programs, of the tracepoints that follow threads
        (``sched_process_fork:entry``, only listed with skips), and from Linux 6.7 on those of kprobes. Before, a
        kprobe's skips are its hits minus its program's runs. The two cannot be read at one instant, so under load calls
        between them may hide as many skips: those known from an earlier reading stay, and a skip that did not happen is
        never counted.
        """
        counts = {}
        for function, side, fd, _ in self._fentries:
            misses = syscall.program_info(fd).recursion_misses
            if misses is not None:
                counts[f"{function}:{side}"] = ProbeCount(None, 0, misses)
        if len(counts) < len(self._fentries) and not self._missing_misses_said:
            self._missing_misses_said = True
            self._say("this kernel does not count skipped fentry programs")
        for event, fd, _ in self._tracepoints:
            if misses := syscall.program_info(fd).recursion_misses:
                counts[f"{event}:entry"] = ProbeCount(None, 0, misses)
        for probe, (hits, misses, min_skips, _) in self._kprobe_counts().items():
            known = max(self._skipped.get(probe, 0), min_skips - self._skips_before.get(probe, 0))
            self._skipped[probe] = known
            counts[probe] = ProbeCount(hits, misses, known)
        return counts

    def costs(self) -> dict[str, ProgramCost]:
        """Each program's run time and runs as the kernel counts them, by the program's name."""
        infos = {name: syscall.program_info(fd) for name, fd in self._loaded.functions.items()}
        return {name: ProgramCost(info.run_time_ns, info.runs) for name, info in infos.items()}

    def runs(self) -> dict[tuple[str, str], int]:
        """How often each probe's program ran, by function and side; with ``counting`` also of fentry's."""
        sides = ("entry", "return")
        return {(f, side): self.counters.runs(self._numbers[f], side) for f in self._functions for side in sides}

    def _kprobe_counts(self) -> dict[str, tuple[int | None, int, int, int]]:
        """(hits, misses, minimum skips, maximum skips) of each kprobe that is counted."""
        if self._target.counts_skips:
            return self._counts_of_kernel()
        return self._counts_of_readings() if self._tracefs is not None and self._kprobes else {}

    def _counts_of_kernel(self) -> dict[str, tuple[int | None, int, int, int]]:
        """Those of a kernel that counts skips: exact. Without a writable tracefs hits and misses are not known."""
        profile = tracefs.profile(self._tracefs) if self._tracefs is not None and self._kprobes else {}
        counts = {}
        for function, side, kprobe in self._kprobes:
            hits, misses = profile.get(kprobe.event or "", (None, 0))
            skips = syscall.program_info(self._loaded.functions[f"{side}_{function}"]).recursion_misses
            assert skips is not None, "a kernel that counts those of kprobes counts those of every program"
            counts[f"{function}:{side}"] = hits, misses, skips, skips
        return counts

    def _counts_of_readings(self) -> dict[str, tuple[int | None, int, int, int]]:
        """The tightest bounds of a few readings of hits and runs."""
        assert self._tracefs is not None
        counts: dict[str, tuple[int | None, int, int, int]] = {}
        for _ in range(_READINGS):
            before = self._runs()
            profile = tracefs.profile(self._tracefs)
            after = self._runs()
            for function, side, kprobe in self._kprobes:
                hits, misses = profile.get(kprobe.event or "", (0, 0))
                probe = f"{function}:{side}"
                min_skips, max_skips = hits - after[probe], hits - before[probe]
                if probe in counts:
                    min_skips = max(min_skips, counts[probe][2])
                    max_skips = min(max_skips, counts[probe][3])
                counts[probe] = hits, misses, min_skips, max_skips
        return counts

    def _runs(self) -> dict[str, int]:
        return {f"{name}:{side}": self.counters.runs(self._numbers[name], side) for name, side, _ in self._kprobes}

    def detach(self) -> None:
        """Detaches every probe. Idempotent."""
        while self._tracepoints:
            os.close(self._tracepoints.pop()[2])
        while self._fentries:
            os.close(self._fentries.pop()[3])
        while self._kprobes:
            function, side, kprobe = self._kprobes.pop()
            try:
                kprobe.close()
            except OSError as error:  # the next start removes it
                self._say(f"the kprobe {kprobe.event} ({function}, {side}) stays in tracefs: {error.strerror}")

    def close(self) -> None:
        """Detaches and frees everything."""
        self.detach()
        self.ring.close()
        self.counters.close()
        if self.cells is not None:
            self.cells.close()
        self._loaded.close()
        self._close_maps()

    def _create_maps(self, needed: Mapping[str, MapShape]) -> None:
        for name, shape in needed.items():
            try:
                self.maps[name] = syscall.create_map(shape)
            except OSError as error:
                raise _MapRefusedError(error) from None

    def _name_cgroups(self) -> None:
        for index, folder in enumerate(self._target.cgroups):
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    syscall.update(self.maps["cgroups"], struct.pack("=I", index), struct.pack("=I", fd))
                finally:
                    os.close(fd)
            except OSError as error:
                raise HostError(
                    f"the cgroup {printable(str(folder))} cannot be named to the kernel ({error.strerror}): "
                    "is it still there?"
                ) from None

    def _close_maps(self) -> None:
        while self.maps:
            os.close(self.maps.popitem()[1])

    def _build_and_attach(self) -> None:
        """Sets all probes; a function that fentry refuses after all is traced by kprobes."""
        while True:
            self._load_any()
            try:
                self.attach()
            except _FentryRefused as refused:
                self.detach()
                self._say(f"fentry refuses {refused.function} ({refused.log}): it is traced by kprobes")
                self.mechanisms[refused.function] = "kprobe"
            else:
                return

    def _load_any(self) -> None:
        """The program with task storage where the kernel has it for tracing programs (5.12), else with a hash."""
        if self._task_storage:
            try:
                self._compile(task_storage=True)
                self._load("__request_module" if "__request_module" in self._functions else "sk_alloc", "return")
            except (LoadError, _MapRefusedError):
                self._task_storage = False
            else:
                return
        self._compile(task_storage=False)

    def _compile(self, *, task_storage: bool) -> None:
        self._check_stop()
        for name in definitions.DISPLACED.intersection(self.maps):
            os.close(self.maps.pop(name))
        self._create_maps(definitions.of_displaced(self._target.slots, task_storage=task_storage))
        defined = constants.of_program(
            self._options, self._target, self.mechanisms, cpus=possible_cpus(), task_storage=task_storage
        )
        try:
            code = compiled(defined, self._say, self._whole_log)
        except HostError:
            self._check_stop()  # Ctrl-C ends the compiler as well
            raise
        self._loaded.close()
        self._loaded = Loaded(code, {definitions.INDEX[name]: fd for name, fd in self.maps.items()}, self._whole_log)

    def attach(self) -> None:
        """Attaches every probe; may be called again after ``detach``. Raises HostError, _FentryRefused."""
        self._attach_tracepoint("sched_process_exit", "thread_exit")
        if self._target.follow:
            self._attach_tracepoint("sched_process_fork", "follow_fork")
        # Innermost first, and returns before entries: every call that an entry opens is sure to be closed.
        for function in reversed(self._functions):
            self._check_stop()
            for side in ("return", "entry"):
                if self.mechanisms[function] == "fentry":
                    self._attach_fentry(function, side)
                else:
                    self._attach_kprobe(function, side)

    def _load(self, function: str, side: str) -> int:
        if self.mechanisms[function] == "fentry":
            type_ = syscall.FENTRY if side == "entry" else syscall.FEXIT
            return self._loaded.load(f"{side}_{function}", type_, self._target.fentry[function])
        return self._loaded.load(f"{side}_{function}", syscall.KPROBE)

    def _attach_fentry(self, function: str, side: str) -> None:
        try:
            program = self._load(function, side)
            self._fentries.append((function, side, program, syscall.attach(program)))
        except LoadError as error:
            raise _FentryRefused(function, str(error)) from error
        except OSError as error:
            raise _FentryRefused(function, f"the kernel has no trampoline for it: {error.strerror}") from error

    def _attach_kprobe(self, function: str, side: str) -> None:
        try:
            program = self._load(function, side)
            maxactive = self._maxactive if side == "return" else None
            symbol = self._target.renamed.get(function, function)
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
        self._kprobes.append((function, side, kprobe))

    def _attach_tracepoint(self, event: str, name: str) -> None:
        try:
            program = self._loaded.load(name, syscall.RAW_TRACEPOINT)
            self._tracepoints.append((event, program, syscall.attach(program, event)))
        except (LoadError, OSError) as error:
            reason = error if isinstance(error, LoadError) else error.strerror
            raise HostError(
                f"the kernel refuses the tracepoint {event}: {reason}: inetprobe doctor says what this machine lacks"
            ) from error


class _MapRefusedError(HostError):
    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the kernel makes no BPF map: {error.strerror}: inetprobe doctor says what this machine lacks"
        )


class _FentryRefused(InetprobeError):
    def __init__(self, function: str, log: str) -> None:
        super().__init__(log)
        self.function = function
        self.log = log


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """One more than the highest CPU number this machine can ever have: CPUs may be plugged in later."""
    return int(path.read_text().strip().replace("-", ",").split(",")[-1]) + 1
