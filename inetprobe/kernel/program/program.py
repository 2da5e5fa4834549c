"""The BPF program's life: compile → load → attach → activate, and back.

Handlers begin no trace until ``activate``, so no trace begins half attached; ``deactivate`` lets the open ones end.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.base.text import printable
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.host import kallsyms, pidns, syscall
from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps import definitions
from inetprobe.kernel.maps.cells import Cells
from inetprobe.kernel.maps.counters import Counters
from inetprobe.kernel.maps.ring import Ring
from inetprobe.kernel.program import constants
from inetprobe.kernel.program.compiler import compiled
from inetprobe.kernel.program.loaded import Loaded, LoadError
from inetprobe.kernel.program.probes import FentryRefused, Probes
from inetprobe.kernel.program.target import Target, default_maxactive
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import AUDIT_SECCOMP, FUNCTIONS_WITH_SECCOMP, sides
from inetprobe.stats.snapshot import ProgramCost

_TASK_STORAGE_HELPER = "bpf_task_storage_get"


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
        self._numbers = {name: number for number, name in FUNCTIONS_WITH_SECCOMP.items()}
        self._numbers[kallsyms.AUDIT_SECCOMP] = AUDIT_SECCOMP
        self._numbers |= {function.name: function.number for function in target.also}
        self._functions = target.functions
        self._task_storage = _TASK_STORAGE_HELPER in target.symbols
        self.probes = Probes(target, self._numbers, options.maxactive or default_maxactive(), say)
        self._loaded = Loaded({}, {}, (), None)
        #: The descriptors of the maps, by their names in bpf/maps.h.
        self.maps: dict[str, int] = {}
        self.mechanisms = target.mechanisms(options.mechanism)
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_maps)
            undo.callback(lambda: self._loaded.close())
            undo.callback(self.probes.close)
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
        if self.probes.unnamed:
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
        self.probes.begin(self._ran)
        self.counters.begin(on=True)

    def deactivate(self) -> None:
        """No trace begins from now on; those in flight still end."""
        self.counters.begin(on=False)

    def probe_counts(self) -> dict[str, ProbeCount]:
        """Hits, misses and skips of each probe since ``activate``, while attached: see Probes.counts."""
        return self.probes.counts(self._ran)

    def costs(self) -> dict[str, ProgramCost]:
        """Each program's run time and runs as the kernel counts them, by the program's name."""
        infos = {name: syscall.program_info(fd) for name, fd in self._loaded.functions.items()}
        return {name: ProgramCost(info.run_time_ns, info.runs) for name, info in infos.items()}

    def runs(self) -> dict[tuple[str, str], int]:
        """How often each probe's program ran, by function and side; with ``counting`` also of fentry's."""
        return {(function, side): self._ran(function, side) for function in self._functions for side in sides(function)}

    def _ran(self, function: str, side: str) -> int:
        return self.counters.runs(self._numbers[function], side)

    def attach(self) -> None:
        """Attaches every probe; may be called again after ``detach``. Raises HostError, FentryRefused."""
        self.probes.attach(self._loaded, self.mechanisms, self._check_stop)

    def detach(self) -> None:
        """Detaches every probe. Idempotent."""
        self.probes.detach()

    def close(self) -> None:
        """Detaches and frees everything."""
        self.probes.close()
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
            except FentryRefused as refused:
                self.detach()
                if refused.function is None:
                    self._say(f"the kernel refuses fentry ({refused}): every function is traced by kprobes")
                    self.mechanisms = dict.fromkeys(self.mechanisms, "kprobe")
                else:
                    self._say(f"fentry refuses {refused.function} ({refused}): it is traced by kprobes")
                    self.mechanisms[refused.function] = "kprobe"
            else:
                return

    def _load_any(self) -> None:
        """The program with task storage where the kernel has it for tracing programs (5.12), else with a hash."""
        if self._task_storage:
            try:
                self._compile(task_storage=True)
                function = "__request_module" if "__request_module" in self._functions else "sk_alloc"
                self.probes.load(self._loaded, self.mechanisms[function], function, "return")
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
        maps = {definitions.INDEX[name]: fd for name, fd in self.maps.items()}
        self._loaded = Loaded(code, maps, self._target.kfuncs, self._whole_log)


class _MapRefusedError(HostError):
    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the kernel makes no BPF map: {error.strerror}: inetprobe doctor says what this machine lacks"
        )


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """One more than the highest CPU number this machine can ever have: CPUs may be plugged in later."""
    return int(path.read_text().strip().replace("-", ",").split(",")[-1]) + 1
