"""The BPF program's life: compile → load → attach → activate, and back. The one module that imports bcc.

Handlers begin no trace until ``activate``, so no trace begins half attached; ``deactivate`` lets the open ones end.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inetprobe.errors import HostError, InetprobeError
from inetprobe.kernel import counters, ring
from inetprobe.kernel.btf import Btf
from inetprobe.kernel.symbols import Symbols
from inetprobe.record import RECORD, bpf_folder

_FENTRY_PREFIX = {"entry": "kfunc__", "return": "kretfunc__"}
# fentry takes no function with variable arguments.
_VARIADIC = frozenset({"__request_module"})
# THREAD_SIZE of x86-64 without KASAN (arch/x86/include/asm/page_64_types.h).
_STACK_SIZE = 16384
_TASK_STORAGE_HELPER = "bpf_task_storage_get"
_PROGRAM = "inetprobe.bpf.c"
# kprobes of ours are found by this prefix in tracefs, next to those of other tools.
EVENT_PREFIX = "inetprobe_"


@dataclass(frozen=True, slots=True)
class Options:
    """What a program is built for.

    ``ring_size`` is in bytes, a power of two and whole pages; ``maxactive`` is how many threads may be inside one
    function at a time before a kretprobe misses returns; ``mechanism`` is ``auto``, ``kprobe`` or ``fentry``, and
    ``fentry`` the functions this kernel can attach to so; ``filters`` are the -D constants of ``kernel.filters``.
    """

    offsets: Mapping[str, int]
    fentry: frozenset[str] = frozenset()
    mechanism: str = "auto"
    ring_size: int = 1 << 22
    maxactive: int = 1024
    filters: Mapping[str, str] = field(default_factory=dict)
    follow: bool = False


class Program:
    """The compiled, loaded and attached program with its maps. Not thread-safe."""

    def __init__(self, options: Options, symbols: Symbols, say: Callable[[str], None]) -> None:
        """Compiles, loads and attaches; no trace begins before ``activate``. ``say`` takes one-line notes for the user.

        Raises HostError, with nothing left attached.
        """
        self._bcc = _import_bcc()
        self._options = options
        self._functions = symbols.present()
        self._task_storage = _TASK_STORAGE_HELPER in symbols
        self._kprobes: list[tuple[str, str, bytes, int]] = []
        self._fentries: list[int] = []
        self._tracepoints: list[bytes] = []
        self.mechanisms = _plan(options, self._functions)
        self._bpf = self._build_and_attach(say)
        self.counters = counters.Counters(self._bpf["counters"].map_fd, possible_cpus())
        self._active_memory, self._active = counters.map_array(self._bpf["active"].map_fd, 1, 1, writable=True)
        self.ring = ring.open_ring(self._bpf, "records", options.ring_size, RECORD, say)

    def follow(self, pid: int) -> None:
        """Traces the thread group ``pid`` and everything it starts from now on; nobody else."""
        table = self._bpf["followed"]
        table[table.Key(pid)] = table.Leaf(1)

    def activate(self) -> None:
        """From now on traces begin."""
        self._active[0, 0] = 1

    def deactivate(self) -> None:
        """No trace begins any more; those in flight still end."""
        self._active[0, 0] = 0

    def probe_events(self) -> dict[str, tuple[str, str]]:
        """tracefs event name → (function, ``entry`` or ``return``) of each attached kprobe."""
        pid = os.getpid()
        return {f"{name.decode()}_bcc_{pid}": (function, side) for function, side, name, _ in self._kprobes}

    def detach(self) -> None:
        """Takes every probe away. Idempotent."""
        while self._tracepoints:
            self._bpf.detach_raw_tracepoint(tp=self._tracepoints.pop())
        while self._fentries:
            os.close(self._fentries.pop())
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
        del self._active
        self._active_memory.close()
        self._bpf.cleanup()

    def _build_and_attach(self, say: Callable[[str], None]) -> Any:
        """The BPF object with all probes in place; what fentry refuses when it comes to it goes by kprobe."""
        while True:
            self._bpf = self._compile()
            try:
                self._attach()
            except _FentryRefused as refused:
                self.detach()
                self._bpf.cleanup()
                say(f"fentry refuses {refused.function} ({refused.log}): it is traced by kprobes")
                self.mechanisms[refused.function] = "kprobe"
            except BaseException:
                self.detach()
                self._bpf.cleanup()
                raise
            else:
                return self._bpf

    def _compile(self) -> Any:
        """The program with task storage where the kernel has it for tracing programs (5.12), else with a hash."""
        if self._task_storage:
            try:
                bpf = self._compile_with(["-DTASK_STORAGE"])
                self._load(bpf, "__request_module" if "__request_module" in self._functions else "sk_alloc", "return")
            except _LoadError:
                self._task_storage = False
            else:
                return bpf
        return self._compile_with([])

    def _compile_with(self, flags: list[str]) -> Any:
        with _captured_stderr() as log:
            try:
                return _deferred(self._bcc.BPF)(text=_source(), cflags=[*self._cflags(), *flags])
            except Exception as error:  # bcc raises nothing narrower
                raise HostError(f"inetprobe's BPF program does not compile: {_telling(log() or str(error))}") from error

    def _cflags(self) -> list[str]:
        options = self._options
        page = os.sysconf("SC_PAGE_SIZE")
        constants: dict[str, object] = {
            **options.offsets,
            **options.filters,
            **{f"MECHANISM_{function}": mechanism.upper() for function, mechanism in self.mechanisms.items()},
            "PAGE_SIZE": page,
            "RING_PAGES": options.ring_size // page,
            "CPUS": possible_cpus(),
            # Wake the reader when an eighth is full: large batches decode cheaply, and a burst still has room.
            "WAKEUP_BYTES": options.ring_size // 8,
            "STACK_SIZE": _STACK_SIZE,
        }
        if options.follow:
            constants["FOLLOW"] = 1
        return [
            f"-I{bpf_folder()}",
            "-Wno-macro-redefined",
            *(f"-D{name}={value}" for name, value in constants.items()),
        ]

    def _attach(self) -> None:
        if self._options.follow:
            for event, program in (("sched_process_fork", "follow_fork"), ("sched_process_exit", "follow_exit")):
                self._attach_tracepoint(event.encode(), program.encode())
        # Innermost first, and returns before entries: what an entry opens is sure to be closed.
        for function in reversed(self._functions):
            for side in ("return", "entry"):
                if self.mechanisms[function] == "fentry":
                    self._attach_fentry(function, side)
                else:
                    self._attach_kprobe(function, side)

    def _load(self, bpf: Any, function: str, side: str) -> Any:
        fentry = self.mechanisms[function] == "fentry"
        name = f"{_FENTRY_PREFIX[side]}{function}" if fentry else f"{side}_{function}"
        with _captured_stderr() as log:
            try:
                return bpf.load_func(name.encode(), self._bcc.BPF.TRACING if fentry else self._bcc.BPF.KPROBE)
            except Exception as error:  # bcc raises nothing narrower
                raise _LoadError(f"{name}: {_telling(log() or str(error))}") from error

    def _attach_fentry(self, function: str, side: str) -> None:
        try:
            program = self._load(self._bpf, function, side)
        except _LoadError as error:
            raise _FentryRefused(function, str(error)) from error
        fd = self._bcc.lib.bpf_attach_kfunc(program.fd)
        if fd < 0:
            raise _FentryRefused(function, "the kernel has no trampoline for it")
        self._fentries.append(fd)

    def _attach_kprobe(self, function: str, side: str) -> None:
        try:
            program = self._load(self._bpf, function, side)
        except _LoadError as error:
            raise HostError(f"the kernel refused inetprobe's BPF program {error}") from error
        # A name, and a maxactive even for an entry, make bcc go through tracefs, where hits and misses are counted.
        name = f"{EVENT_PREFIX}{side}_{function}".encode()
        returns = side == "return"
        maxactive = self._options.maxactive if returns else 1
        with _captured_stderr() as log:
            fd = self._bcc.lib.bpf_attach_kprobe(program.fd, int(returns), name, function.encode(), 0, maxactive)
            if fd < 0:
                raise HostError(f"cannot attach to {function}: {_telling(log()) or 'the kernel refused the kprobe'}")
        self._kprobes.append((function, side, name, fd))

    def _attach_tracepoint(self, event: bytes, program: bytes) -> None:
        try:
            self._bpf.attach_raw_tracepoint(tp=event, fn_name=program)
        except Exception as error:  # bcc raises nothing narrower
            raise HostError(f"cannot follow COMMAND's children: tracepoint {event.decode()}: {error}") from error
        self._tracepoints.append(event)


class _LoadError(InetprobeError):
    """The verifier, or BTF, refused one program."""


class _FentryRefused(InetprobeError):
    def __init__(self, function: str, log: str) -> None:
        super().__init__(log)
        self.function = function
        self.log = log


def fentry_functions(types: Btf, functions: Iterable[str]) -> frozenset[str]:
    """Those of ``functions`` that fentry can attach to: described in BTF, with a fixed number of arguments.

    Empty on a kernel without safe trampolines (bpf_tramp_image: Linux 5.12, and Debian's 5.10).
    """
    if not types.has_struct("bpf_tramp_image"):
        return frozenset()
    return frozenset(name for name in functions if name not in _VARIADIC and types.has_function(name))


def _plan(options: Options, functions: tuple[str, ...]) -> dict[str, str]:
    """The mechanism for each function. Raises HostError when fentry is demanded of a kernel without it."""
    if options.mechanism == "fentry" and not options.fentry:
        raise HostError("this kernel has no usable fentry (BPF trampolines): use --mechanism kprobe or auto")
    wanted = options.fentry if options.mechanism != "kprobe" else frozenset()
    return {name: "fentry" if name in wanted else "kprobe" for name in functions}


def _deferred(base: Any) -> Any:
    """bcc's BPF class without its habit of attaching every program it knows by name as soon as it is compiled."""

    class Deferred(base):  # type: ignore[misc]  # bcc has no types
        def _trace_autoload(self) -> None:
            pass

    return Deferred


def _source() -> bytes:
    return (bpf_folder() / _PROGRAM).read_bytes()


def _import_bcc() -> Any:
    # bcc reads this when it compiles: the stub headers stand in for the kernel's own.
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    try:
        import bcc
        from bcc import libbcc
    except ImportError as error:
        raise HostError(
            f"bcc cannot be imported ({error}): install the distribution's package (Debian: apt install python3-bpfcc)"
        ) from None
    if not hasattr(bcc, "BPF"):
        raise HostError("the bcc that Python finds is not BPF's: remove PyPI's bcc and install python3-bpfcc")
    bcc.lib = libbcc.lib
    return bcc


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """One more than the highest CPU number this machine can ever have: a slot for CPUs plugged in later."""
    return int(path.read_text().strip().replace("-", ",").split(",")[-1]) + 1


def _telling(log: str) -> str:
    """The line of a compiler's or verifier's log that says what is wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "invalid" in line.lower() or "Failed" in line]
    return (telling or lines or [""])[0]


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """libbcc and LLVM write straight to file descriptor 2: keep it for the error message instead."""
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)

        def read() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(saved, 2)
            os.close(saved)
