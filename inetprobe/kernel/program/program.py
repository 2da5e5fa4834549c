"""The BPF program's life: compile → load → attach → activate, and back.

Handlers begin no trace until ``activate``, so no trace begins half attached; ``deactivate`` lets the open ones end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from inetprobe.base.errors import HostError, InetprobeError
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.frames.bcc_symbols import KERNEL, SymbolCache
from inetprobe.kernel.host import pidns, syscall, tracefs
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps import counters, ring
from inetprobe.kernel.maps.cells import Cells
from inetprobe.kernel.program import memory
from inetprobe.kernel.program.code import Loaded, LoadError
from inetprobe.kernel.program.compiler import compiled, import_bcc
from inetprobe.kernel.program.log import captured_stderr, telling
from inetprobe.kernel.program.target import Target, default_maxactive
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import FUNCTIONS, SLOTS, SLOTS_ALSO, record_dtype
from inetprobe.stats.snapshot import ProgramCost

_FENTRY_PREFIX = {"entry": "kfunc__", "return": "kretfunc__"}
# THREAD_SIZE of x86-64 without KASAN (arch/x86/include/asm/page_64_types.h).
_STACK_SIZE = 16384
_TASK_STORAGE_HELPER = "bpf_task_storage_get"
_READINGS = 5
_WAKEUP_RECORDS = 64


class Program:
    """The compiled, loaded and attached program with its maps. Not thread-safe."""

    def __init__(self, options: TraceOptions, target: Target, say: Say, check_stop: CheckStop = never_stop) -> None:
        """Compiles, loads and attaches; no trace begins before ``activate``.

        ``target`` is made from the same ``options``. Raises HostError and what ``check_stop`` raises, with nothing left
        attached.
        """
        self._bcc = import_bcc()
        self._say = say
        self._check_stop = check_stop
        self._options = options
        self._target = target
        self._whole_log = say if options.verbose else None
        self._numbers = {name: number for number, name in FUNCTIONS.items()} | {f.name: f.number for f in target.also}
        self._functions = target.functions
        self._maxactive = options.maxactive or default_maxactive()
        self._task_storage = _TASK_STORAGE_HELPER in target.symbols
        self._kprobes: list[tuple[str, str, bytes, int]] = []
        self._fentries: list[tuple[str, str, int, int]] = []
        self._tracepoints: list[tuple[str, int, int]] = []
        self._skips_before: dict[str, int] = {}
        self._missing_misses_said = False
        self.mechanisms = target.mechanisms(options.mechanism)
        with contextlib.ExitStack() as undo:
            self.counters = self._make_counters()
            undo.callback(self.counters.close)
            self._loaded = self._build_and_attach(undo.enter_context(contextlib.ExitStack()))
            self.ring = ring.open_ring(self.maps["records"], options.ring_size, self._record(), self._bcc.libbcc, say)
            counting = options.counting
            self.cells: Cells | None = None
            if counting is not None:
                self.cells = Cells(self.maps["cells"], possible_cpus(), len(counting.bounds_ns))
            undo.pop_all()
        memory.give_back()

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
        self._skips_before = {probe: max_skips for probe, (_, _, _, max_skips) in self._kprobe_counts().items()}
        self.counters.begin(on=True)

    def deactivate(self) -> None:
        """No trace begins from now on; those in flight still end."""
        self.counters.begin(on=False)

    def probe_counts(self) -> dict[str, ProbeCount]:
        """Hits, misses and skips of each probe by its name (``sk_alloc:entry``) since ``activate``, while attached.

        A kprobe's skips are its hits minus its program's runs. The kernel itself counts the skips of fentry programs,
        and of the tracepoints that follow threads (``sched_process_fork:entry``, only listed with skips): while a
        program is preempted on a CPU it is not run there a second time. Hits and runs cannot be read at one instant, so
        under load calls between the two reads may hide as many skips; a skip that did not happen is never counted.
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
            counts[probe] = ProbeCount(hits, misses, max(0, min_skips - self._skips_before.get(probe, 0)))
        return counts

    def costs(self) -> dict[str, ProgramCost]:
        """Each program's run time and runs as the kernel counts them, by the program's name."""
        infos = {name: syscall.program_info(fd) for name, fd in self._loaded.functions.items()}
        return {name: ProgramCost(info.run_time_ns, info.runs) for name, info in infos.items()}

    def runs(self) -> dict[tuple[str, str], int]:
        """How often each probe's program ran, by function and side; with ``counting`` also of fentry's."""
        sides = ("entry", "return")
        return {(f, side): self.counters.runs(self._numbers[f], side) for f in self._functions for side in sides}

    def _kprobe_counts(self) -> dict[str, tuple[int, int, int, int]]:
        """(hits, misses, minimum skips, maximum skips) of each kprobe: the tightest bounds of a few readings."""
        folder = tracefs.tracefs()
        if folder is None or not self._kprobes:
            return {}
        suffix = f"_bcc_{os.getpid()}"
        counts: dict[str, tuple[int, int, int, int]] = {}
        for _ in range(_READINGS):
            before = self._runs()
            profile = tracefs.profile(folder)
            after = self._runs()
            for function, side, name, _ in self._kprobes:
                hits, misses = profile.get(name.decode() + suffix, (0, 0))
                probe = f"{function}:{side}"
                min_skips, max_skips = hits - after[probe], hits - before[probe]
                if probe in counts:
                    min_skips = max(min_skips, counts[probe][2])
                    max_skips = min(max_skips, counts[probe][3])
                counts[probe] = hits, misses, min_skips, max_skips
        return counts

    def _runs(self) -> dict[str, int]:
        return {f"{name}:{side}": self.counters.runs(self._numbers[name], side) for name, side, _, _ in self._kprobes}

    def detach(self) -> None:
        """Detaches every probe. Idempotent."""
        while self._tracepoints:
            os.close(self._tracepoints.pop()[2])
        while self._fentries:
            os.close(self._fentries.pop()[3])
        for _, _, _, fd in self._kprobes:
            self._bcc.lib.bpf_close_perf_event_fd(fd)
        while self._kprobes:
            _, _, name, _ = self._kprobes.pop()
            self._bcc.lib.bpf_detach_kprobe(name)

    def close(self) -> None:
        """Detaches and frees everything."""
        self.detach()
        self.ring.close()
        self.counters.close()
        if self.cells is not None:
            self.cells.close()
        self._loaded.close()

    @property
    def maps(self) -> Mapping[str, int]:
        """The descriptors of the maps of bpf/inetprobe.bpf.c, by name."""
        return self._loaded.maps

    def _make_counters(self) -> counters.Counters:
        try:
            return counters.Counters(possible_cpus(), self._slots())
        except OSError as error:
            raise _no_map(error) from None

    def _build_and_attach(self, undo: contextlib.ExitStack) -> Loaded:
        """The program with all probes set; a function that fentry refuses after all is traced by kprobes."""
        while True:
            self._loaded = self._load_any()
            undo.callback(self._loaded.close)
            undo.callback(self.detach)
            try:
                self.attach()
            except _FentryRefused as refused:
                undo.close()
                self._say(f"fentry refuses {refused.function} ({refused.log}): it is traced by kprobes")
                self.mechanisms[refused.function] = "kprobe"
            else:
                return self._loaded

    def _load_any(self) -> Loaded:
        """The program with task storage where the kernel has it for tracing programs (5.12), else with a hash."""
        if self._task_storage:
            self._loaded = loaded = self._load_compiled({"TASK_STORAGE": 1})
            try:
                self._load("__request_module" if "__request_module" in self._functions else "sk_alloc", "return")
            except LoadError:
                loaded.close()
                self._task_storage = False
            else:
                return loaded
        return self._load_compiled({})

    def _load_compiled(self, constants: Mapping[str, object]) -> Loaded:
        self._check_stop()
        constants = {**self._constants(), **constants}
        counters = self.counters
        try:
            program = compiled(self._bcc, constants, counters.constants(), counters.maps, self._say, self._whole_log)
            return Loaded(self._bcc.lib, program, counters.maps, bcc_version=self._bcc.version)
        except OSError as error:
            raise _no_map(error) from None

    def _constants(self) -> dict[str, object]:
        options, target = self._options, self._target
        page = os.sysconf("SC_PAGE_SIZE")
        window = options.ring_size if options.counting else _WAKEUP_RECORDS * self._record().itemsize
        constants: dict[str, object] = {
            **target.offsets,
            **target.constants,
            **{f"MECHANISM_{function}": mechanism.upper() for function, mechanism in self.mechanisms.items()},
            "PAGE_SIZE": page,
            "RING_PAGES": options.ring_size // page,
            "KERNEL": f"{target.symbols.image.start:#x}ULL",
            "KERNEL_BYTES": f"{len(target.symbols.image)}ULL",
            "CPUS": possible_cpus(),
            # CPUs that send at once may all miss the exact byte at which to wake the reader: hence the window.
            "WAKEUP_BYTES": 0 if options.counting else int(options.ring_size * ring.MUCH),
            "WAKEUP_WINDOW": f"{window}ULL",
            "STACK_SIZE": _STACK_SIZE,
            "INETPROBE_CALLS": self._slots(),
        }
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
            constants["ALSO(X)"] = " ".join(also.entry(self.mechanisms[also.name]) for also in target.also)
        return constants

    def _slots(self) -> int:
        return SLOTS_ALSO if self._target.also else SLOTS

    def _record(self) -> np.dtype[np.void]:
        stack = self._options.stack is not None
        return record_dtype(self._slots(), sock=self._options.sock, stack=stack, frames=stack)

    def symbols(self, pid: int = KERNEL) -> SymbolCache:
        """The symbols of a process, as it is now, or of the kernel."""
        return SymbolCache(self._bcc, pid)

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
            return self._load_function(f"{_FENTRY_PREFIX[side]}{function}", self._bcc.BPF.TRACING)
        return self._load_function(f"{side}_{function}", self._bcc.BPF.KPROBE)

    def _load_function(self, name: str, type_: int) -> int:
        with captured_stderr(self._whole_log) as log:
            try:
                return self._loaded.load(name, type_)
            except LoadError as error:
                raise LoadError(f"{name}: {telling(log() or str(error))}") from error

    def _attach_fentry(self, function: str, side: str) -> None:
        try:
            program = self._load(function, side)
        except LoadError as error:
            raise _FentryRefused(function, str(error)) from error
        fd = self._bcc.lib.bpf_attach_kfunc(program)
        if fd < 0:
            raise _FentryRefused(function, "the kernel has no trampoline for it")
        self._fentries.append((function, side, program, fd))

    def _attach_kprobe(self, function: str, side: str) -> None:
        try:
            program = self._load(function, side)
        except LoadError as error:
            raise HostError(
                f"the kernel refused inetprobe's BPF program {error}: -v shows the verifier's whole log, "
                "and inetprobe doctor what this machine lacks"
            ) from error
        # With a name, and a maxactive even for an entry, bcc goes through tracefs, which counts hits and misses.
        name = f"{tracefs.EVENT_PREFIX}{side}_{function}".encode()
        returns = side == "return"
        maxactive = self._maxactive if returns else 1
        with captured_stderr(self._whole_log) as log:
            fd = self._bcc.lib.bpf_attach_kprobe(program, int(returns), name, function.encode(), 0, maxactive)
            if fd < 0:
                self._bcc.lib.bpf_detach_kprobe(name)  # it may be in tracefs already, and only perf refused
                reason = telling(log()) or "the kernel refused the kprobe"
                raise HostError(f"cannot attach to {function}: {reason}: inetprobe doctor says what this machine lacks")
        self._kprobes.append((function, side, name, fd))

    def _attach_tracepoint(self, event: str, name: str) -> None:
        try:
            program = self._load_function(name, self._bcc.BPF.RAW_TRACEPOINT)
            fd = self._bcc.lib.bpf_attach_raw_tracepoint(program, event.encode())
            if fd < 0:
                raise LoadError(os.strerror(ctypes.get_errno()))
        except LoadError as error:
            raise HostError(
                f"the kernel refuses the tracepoint {event}: {error}: inetprobe doctor says what this machine lacks"
            ) from error
        self._tracepoints.append((event, program, fd))


def _no_map(error: OSError) -> HostError:
    return HostError(f"the kernel makes no BPF map: {error.strerror}: inetprobe doctor says what this machine lacks")


class _FentryRefused(InetprobeError):
    def __init__(self, function: str, log: str) -> None:
        super().__init__(log)
        self.function = function
        self.log = log


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """One more than the highest CPU number this machine can ever have: CPUs may be plugged in later."""
    return int(path.read_text().strip().replace("-", ",").split(",")[-1]) + 1
