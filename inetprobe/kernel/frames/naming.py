"""--stack: who called. The constants for bpf/stack.h, and the kernel's frames → numbers of stacks with names.

Addresses stop here: what comes out has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inetprobe.base.errors import HostError
from inetprobe.base.uapi import ERRNOS
from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols
from inetprobe.kernel.host import pidns
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.record.calls import opaque
from inetprobe.record.layout import Records, define
from inetprobe.record.stacks import TRUNCATED, Side, Stack, Stacks

_OFFSETS: dict[str, tuple[str, str]] = {
    "OFF_TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "OFF_TASK_START": ("task_struct", "start_boottime"),
    "OFF_TASK_MM": ("task_struct", "mm"),
    "OFF_MM_START_STACK": ("mm_struct", "start_stack"),
}
_ADDRESS = 8
_MOST = Path("/proc/sys/kernel/perf_event_max_stack")


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Whose frames, and how long a creation that succeeds must last, in nanoseconds, to be worth them."""

    kernel: bool
    user: bool
    slow_ns: int

    def constants(self, types: Btf, symbols: Symbols) -> dict[str, str]:
        """Those of bpf/stack.h. Raises HostError where users' frames cannot get names, or the kernel lacks a member."""
        if self.user and not pidns.is_initial():
            raise HostError(
                "--stack user: in a pid namespace of its own inetprobe does not see the processes it traces: run it in "
                "the host's (docker run --pid=host, hostPID: true), or ask for --stack kernel alone"
            )
        offsets = {name: str(types.offset(*path)) for name, path in _OFFSETS.items()}
        sides = {"STACK_KERNEL": str(int(self.kernel)), "STACK_USER": str(int(self.user))}
        sides["STACK_AT_ENTRY"] = str(int(self.kernel and at_entry(symbols)))
        return {**offsets, **sides, "STACK_SLOW_NS": f"{self.slow_ns}ULL", "INETPROBE_STACKS": "1"}


def at_entry(symbols: Symbols) -> bool:
    """Does a stack end at a kretprobe? Linux 5.10's unwinder does not know where that returns to, 6.1's does; its
    trampoline has another name since (__kretprobe_trampoline)."""
    return "kretprobe_trampoline" in symbols


class Naming:
    """Gives the frames of drained records their names. A side whose symbols are None was not asked for."""

    def __init__(
        self,
        kernel: KernelSymbols | None,
        user: UserSymbols | None,
        functions: Mapping[int, str],
        mechanisms: Mapping[str, str],
        symbols: Symbols,
        most: Path = _MOST,
    ) -> None:
        """``functions`` are the traced ones by number, ``mechanisms`` how each is traced; ``symbols`` are the kernel's.

        Reads /proc/sys/kernel/perf_event_max_stack: a stack of as many frames may have more.
        """
        self._kernel = kernel
        self._user = user
        self._functions = functions
        self._mechanisms = mechanisms
        self._at_entry = at_entry(symbols)
        self._most = int(most.read_text())
        self.lost: dict[str, int] = {}

    def numbered(self, records: Records, dtype: np.dtype[np.void], stacks: Stacks) -> Records:
        """The records as a ``dtype`` that ends where the frames begin, with numbers of ``stacks`` instead."""
        whole = np.ascontiguousarray(opaque(records)).view(np.uint8).reshape(len(records), records.dtype.itemsize)
        kept: Records = np.ascontiguousarray(whole[:, : dtype.itemsize]).view(dtype).reshape(len(records))
        frames = records["frames"][:, 0]
        for row in np.flatnonzero((frames["kernel_size"] != 0) | (frames["user_size"] != 0)).tolist():
            stack = self._named(records[row], frames[row])
            for loss in stack.losses:
                self.lost[loss] = self.lost.get(loss, 0) + 1
            kept["stack"][row] = stacks.number(stack)
        return kept

    def close(self) -> None:
        """Frees the symbols of all processes."""
        if self._user is not None:
            self._user.close()

    def _named(self, record: np.void, frames: np.void) -> Stack:
        return Stack(
            None if self._kernel is None else self._kernel_side(self._kernel, record, frames),
            None if self._user is None else self._user_side(self._user, record, frames),
        )

    def _kernel_side(self, symbols: KernelSymbols, record: np.void, frames: np.void) -> Side:
        addresses, lost = self._addresses(frames, "kernel")
        function = self._functions[int(record["calls"][0]["function"])]
        mechanism = self._mechanisms[function]
        if self._at_entry and mechanism == "kprobe":
            addresses = addresses[1:]  # the function's own beginning
        return Side(symbols.callers(addresses, function, mechanism), lost)

    def _user_side(self, symbols: UserSymbols, record: np.void, frames: np.void) -> Side:
        addresses, lost = self._addresses(frames, "user")
        if not addresses:
            return Side((), lost)
        process = MappedProcess(int(record["pid"]), int(frames["process_start"]), int(frames["start_stack"]))
        side = symbols.named(process, addresses, int(frames["caller"]))
        return side if side.lost else side._replace(lost=lost)

    def _addresses(self, frames: np.void, side: str) -> tuple[list[int], str | None]:
        size = int(frames[f"{side}_size"])
        if size < 0:
            return [], ERRNOS.get(-size, str(-size))
        most = define(f"{side.upper()}_FRAMES")
        count = size // _ADDRESS
        truncated = count >= min(most, self._most)
        return frames[side][: min(count, most - 1)].tolist(), TRUNCATED if truncated else None
