"""User addresses → names, by bcc, from the memory map of a process that must still be the traced one.

A process is identified by its start time and by the start of its stack, which execve() chooses at random: a reused
process id, or another program in the same process, gives no wrong names. Names from other users' files are only
shortened here; the outputs escape them.
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
from inetprobe.kernel.frames.kernel_frames import UNKNOWN, Resolver
from inetprobe.kernel.host import clock, privileges
from inetprobe.record.stacks import EXECUTED, EXITED, UNREADABLE, Side

# Processes whose symbols are cached, each a few megabytes of names.
_MAX_PROCESSES = 32
_MAX_NAME = 256
#: Characters of a frame at most: two names, and an offset of 64 bits between them.
MAX_FRAME = 2 * _MAX_NAME + len("+0xffffffffffffffff ()")
# Bytes of a file that libbcc reads whole. A JIT writes its map itself, as large as it likes; a program's own debug
# information is in the file.
_MOST_MAP, _MOST_ELF = 1 << 26, 1 << 32
# glibc's wrappers that push no frame before `syscall`: sysdeps/unix/sysv/linux/socket.S, syscall.S.
_WRAPPERS = (b"socket", b"__socket", b"syscall")
_WRAPPER_LENGTH = 64
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


class MappedProcess(NamedTuple):
    """One program in one process: ``start_ns`` is its leader's on the kernel's clock, ``start_stack`` an address."""

    pid: int
    start_ns: int
    start_stack: int


class FileSymbols(Resolver, Protocol):
    """The symbols of one process."""

    def free(self) -> None:
        """Gives their memory back."""


@dataclass(slots=True)
class _CachedProcess:
    symbols: FileSymbols
    mapped: tuple[str, ...]


class UnnameableError(Exception):
    """A process's frames cannot be named; ``why`` is one of the losses of record.stacks."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class UserSymbols:
    """Names the frames of any number of processes; not thread-safe."""

    def __init__(self, open_symbols: Callable[[int], FileSymbols], proc: Path = Path("/proc")) -> None:
        """``open_symbols`` opens the symbols of a process by its id."""
        self._open = open_symbols
        self._proc = proc
        self._cached: OrderedDict[MappedProcess, _CachedProcess] = OrderedDict()
        self._namespace_ns = clock.namespace_offset_ns()

    def named(self, process: MappedProcess, addresses: Sequence[int], caller: int) -> Side:
        """The frames' names, innermost first. ``caller`` is the word at the user's stack pointer, or 0."""
        try:
            symbols = self._symbols_of(process)
        except UnnameableError as error:
            return Side((), error.why)
        # Every frame but the innermost is a return address: the call before it is named.
        resolved = [_NamedFrame.of(symbols, address, after_call=index > 0) for index, address in enumerate(addresses)]
        if caller and resolved[0].is_wrapper and caller not in addresses[1:2]:
            skipped = _NamedFrame.of(symbols, caller, after_call=True)
            if skipped.module is not None:
                resolved.insert(1, skipped)
        if self._state(process) == EXECUTED:
            return Side((), EXECUTED)  # bcc may have read the new program's map
        return Side(tuple(frame.shown() for frame in resolved))

    def _symbols_of(self, process: MappedProcess) -> FileSymbols:
        cached = self._cached.get(process)
        state = self._state(process)
        if state is not None:
            if cached is None or state == EXECUTED:
                raise UnnameableError(state)
            return cached.symbols  # of a process that has ended since
        mapped = self._mapped(process.pid)
        if cached is not None and cached.mapped == mapped:
            self._cached.move_to_end(process)
            return cached.symbols
        self._forget(process)
        self._refuse_what_blocks(process.pid, mapped)
        fresh = _CachedProcess(self._open(process.pid), mapped)
        self._cached[process] = fresh
        if (state := self._state(process)) is not None:
            self._forget(process)  # bcc may have read another process's map
            raise UnnameableError(state)
        while len(self._cached) > _MAX_PROCESSES:
            self._forget(next(iter(self._cached)))
        return fresh.symbols

    def _forget(self, process: MappedProcess) -> None:
        cached = self._cached.pop(process, None)
        if cached is not None:
            cached.symbols.free()

    def _state(self, process: MappedProcess) -> str | None:
        """None while it is the same process, else EXITED, EXECUTED or UNREADABLE."""
        try:
            stat_line = (self._proc / str(process.pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return EXITED
        fields = stat_line.rpartition(")")[2].split()  # from the third field of proc(5) on: a name may have any bytes
        state, start, start_stack = fields[0], int(fields[19]), int(fields[25])
        if state in "ZX" or start != (process.start_ns + self._namespace_ns) // _TICK_NS:
            return EXITED
        if not start_stack:
            return UNREADABLE
        return None if start_stack == process.start_stack else EXECUTED

    def _mapped(self, pid: int) -> tuple[str, ...]:
        """The lines of a process's executable mappings. Raises UnnameableError."""
        try:
            maps = os.fsdecode((self._proc / str(pid) / "maps").read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            raise UnnameableError(EXITED) from None
        except OSError:
            raise UnnameableError(UNREADABLE) from None
        # A file may have any name, of which the kernel escapes only the newline.
        return tuple(line for line in maps.split("\n")[:-1] if "x" in line.split(" ", 2)[1])

    def _refuse_what_blocks(self, pid: int, mapped: Sequence[str]) -> None:
        """bcc opens the paths of mapped files, and a JIT's map: on a FIFO it would block, and a map it reads whole.

        Raises UnnameableError.
        """
        root = self._proc / str(pid) / "root"
        paths = [line.split(None, 5)[5] for line in mapped if len(line.split(None, 5)) == 6]
        try:
            inner = self._inner_pid(pid)
        except (FileNotFoundError, ProcessLookupError):
            raise UnnameableError(EXITED) from None
        maps = f"/tmp/perf-{inner}.map"  # where JITs write their symbols
        programs = [Path(f"{root}{path}") for path in paths if path.startswith("/")]
        fit = [_opens(path, _MOST_ELF) for path in programs]
        fit += [_opens(path, _MOST_MAP) for path in (Path(f"{root}{maps}"), Path(maps))]
        if not all(fit):
            raise UnnameableError(UNREADABLE)

    def _inner_pid(self, pid: int) -> int:
        """The process's id in its innermost pid namespace."""
        lines = privileges.status_lines(self._proc / str(pid) / "status")
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
            return UNKNOWN  # not mapped from a file, like a JIT's code; the address is not shown
        # Only the file's name: a folder may reveal its owner.
        file = _cut(self.module.rpartition(b"/")[2])
        return f"{UNKNOWN if self.name is None else _cut(self.name)}+{self.offset:#x} ({file})"


def _cut(raw: bytes) -> str:
    name = text.decode(raw)
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _opens(path: Path, most: int) -> bool:
    """Is it a regular file of at most so many bytes, or not there, so that open() does not block?"""
    try:
        status = path.stat()
    except OSError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size <= most
