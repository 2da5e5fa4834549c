"""User addresses → names, by bcc, from the memory map of a process that must still be the one that was traced.

A process is told by its start and by where its stack begins, which execve() sets anew at random: a reused process id,
or another program in the same process, gives no wrong names. Whatever a stranger's files say is only bounded here; who
shows it escapes it.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from inetprobe.base import text
from inetprobe.kernel.frames.descriptors import Descriptors
from inetprobe.kernel.frames.kernel_frames import UNKNOWN, Resolver
from inetprobe.record.stacks import EXECUTED, EXITED, UNREADABLE, Side

# Processes whose symbols are kept: each a few megabytes of names.
_KEPT = 32
_LONGEST = 256
# glibc's wrappers that push nothing before `syscall`: sysdeps/unix/sysv/linux/socket.S, syscall.S.
_WRAPPERS = (b"socket", b"__socket", b"syscall")
_WRAPPER_LENGTH = 64
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


class MappedProcess(NamedTuple):
    """One program in one process: ``start_ns`` is its leader's CLOCK_BOOTTIME, ``start_stack`` an address."""

    pid: int
    start_ns: int
    start_stack: int


class FileSymbols(Resolver, Protocol):
    """The symbols of one process."""

    def free(self) -> None:
        """Gives their memory back."""


@dataclass(slots=True)
class _Known:
    symbols: FileSymbols
    mapped: tuple[str, ...]


class UnnameableError(Exception):
    """Why a process's frames cannot be named."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UserSymbols:
    """Names the frames of whatever processes come along; not thread-safe."""

    def __init__(self, open_symbols: Callable[[int], FileSymbols], proc: Path = Path("/proc")) -> None:
        """``open_symbols`` reads the symbols of a process id."""
        self._open = open_symbols
        self._proc = proc
        self._known: OrderedDict[MappedProcess, _Known] = OrderedDict()
        self._descriptors = Descriptors()

    def named(self, process: MappedProcess, addresses: Sequence[int], caller: int) -> Side:
        """The frames' names, innermost first. ``caller`` is what the user's stack pointer points to, or 0."""
        with self._descriptors.kept():
            return self._named(process, addresses, caller)

    def close(self) -> None:
        """Frees all."""
        with self._descriptors.kept():
            for known in self._known.values():
                known.symbols.free()
        self._known.clear()

    def _named(self, process: MappedProcess, addresses: Sequence[int], caller: int) -> Side:
        try:
            symbols = self._symbols_of(process)
        except UnnameableError as error:
            return Side((), error.why)
        # Where a frame's address is the one after a call, the call is what is to be named.
        resolved = [_NamedFrame.of(symbols, address, after_call=place > 0) for place, address in enumerate(addresses)]
        if caller and resolved[0].is_wrapper and caller not in addresses[1:2]:
            skipped = _NamedFrame.of(symbols, caller, after_call=True)
            if skipped.module is not None:
                resolved.insert(1, skipped)
        if self._state(process) == EXECUTED:
            return Side((), EXECUTED)  # bcc may have read the new program's map
        return Side(tuple(frame.shown() for frame in resolved))

    def _symbols_of(self, process: MappedProcess) -> FileSymbols:
        known = self._known.get(process)
        state = self._state(process)
        if state is not None:
            if known is None or state == EXECUTED:
                raise UnnameableError(state)
            return known.symbols  # it has ended; what it had mapped is still known
        mapped = self._mapped(process.pid)
        if known is not None and known.mapped == mapped:
            self._known.move_to_end(process)
            return known.symbols
        self._forget(process)
        self._refuse_what_blocks(process.pid, mapped)
        fresh = _Known(self._open(process.pid), mapped)
        self._known[process] = fresh
        if (state := self._state(process)) is not None:
            self._forget(process)  # whose map bcc has read, nobody knows
            raise UnnameableError(state)
        while len(self._known) > _KEPT:
            self._forget(next(iter(self._known)))
        return fresh.symbols

    def _forget(self, process: MappedProcess) -> None:
        known = self._known.pop(process, None)
        if known is not None:
            known.symbols.free()

    def _state(self, process: MappedProcess) -> str | None:
        """None while the process is there and is the same, else what became of it."""
        try:
            said = (self._proc / str(process.pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return EXITED
        fields = said.rpartition(")")[2].split()  # of proc(5) from the third on: a name may hold anything
        state, start, start_stack = fields[0], int(fields[19]), int(fields[25])
        if state in "ZX" or start != process.start_ns // _TICK_NS:
            return EXITED
        if not start_stack:
            return UNREADABLE
        return None if start_stack == process.start_stack else EXECUTED

    def _mapped(self, pid: int) -> tuple[str, ...]:
        """The lines of what a process has mapped to execute. Raises _NotNowError."""
        try:
            lines = (self._proc / str(pid) / "maps").read_text(errors="surrogateescape").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            raise UnnameableError(EXITED) from None
        except OSError:
            raise UnnameableError(UNREADABLE) from None
        return tuple(line for line in lines if "x" in line.split(None, 2)[1])

    def _refuse_what_blocks(self, pid: int, mapped: Sequence[str]) -> None:
        """bcc opens what stands where a mapped file stood, and a JIT's map: a FIFO there would stop inetprobe."""
        root = self._proc / str(pid) / "root"
        paths = [line.split(None, 5)[5] for line in mapped if len(line.split(None, 5)) == 6]
        try:
            inner = self._inner_pid(pid)
        except (FileNotFoundError, ProcessLookupError):
            raise UnnameableError(EXITED) from None
        maps = f"/tmp/perf-{inner}.map"  # where JITs put it
        places = [Path(f"{root}{path}") for path in [*paths, maps] if path.startswith("/")]
        if not all(map(_opens, [*places, Path(maps)])):
            raise UnnameableError(UNREADABLE)

    def _inner_pid(self, pid: int) -> int:
        """In the innermost pid namespace."""
        lines = (self._proc / str(pid) / "status").read_text(errors="replace").splitlines()
        ids = next((line for line in lines if line.startswith("NSpid:")), f"NSpid: {pid}")
        return int(ids.split()[-1])


class _NamedFrame(NamedTuple):
    name: bytes | None
    offset: int
    module: bytes | None

    @classmethod
    def of(cls, symbols: FileSymbols, address: int, *, after_call: bool) -> _NamedFrame:
        name, offset, module = symbols.resolve(address - after_call, True)
        return cls(name, offset + after_call, module)

    @property
    def is_wrapper(self) -> bool:
        return self.name in _WRAPPERS and self.offset < _WRAPPER_LENGTH

    def shown(self) -> str:
        if self.module is None:
            return UNKNOWN  # and no address: what is nowhere mapped from a file, a JIT's code for one
        # The file's own name alone: folders may tell whose it is.
        file = _cut(self.module.rpartition(b"/")[2])
        return f"{UNKNOWN if self.name is None else _cut(self.name)}+{self.offset:#x} ({file})"


def _cut(raw: bytes) -> str:
    name = text.decode(raw)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _opens(path: Path) -> bool:
    """Is it a file that open() does not wait for, or nothing?"""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
