"""--stack: the constants for bpf/stack.h, and the kernel's frames → numbers of stacks with names.

No address leaves this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inetprobe.base.errors import HostError
from inetprobe.base.uapi import ERRNOS
from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.frames.user_frames import MappedProcess
from inetprobe.kernel.host import pidns
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.process_reader import ProcessReader
from inetprobe.record.calls import opaque
from inetprobe.record.layout import Records, define
from inetprobe.record.stacks import TRUNCATED, Side, Stack, Stacks

_OFFSETS: dict[str, tuple[str, str]] = {
    "OFF_TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "OFF_TASK_MM": ("task_struct", "mm"),
    "OFF_MM_START_STACK": ("mm_struct", "start_stack"),
}
_ADDRESS = 8
_MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")


@dataclass(frozen=True, slots=True)
class StackOptions:
    """Which side's frames to record; for a successful creation only if it took at least ``slow_ns`` nanoseconds."""

    kernel: bool
    user: bool
    slow_ns: int

    def constants(self, types: Btf, symbols: Symbols) -> dict[str, str]:
        """The constants of bpf/stack.h. Raises HostError if user frames cannot be named or a member is missing."""
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
    """Must the kernel's stack be taken at the entry, since it ends at a kretprobe? Linux 5.10's unwinder does not know
    the return address behind a kretprobe's trampoline; 6.1's does, where it is called __kretprobe_trampoline."""
    return "kretprobe_trampoline" in symbols


class Naming:
    """Names the frames of drained records. A side whose symbols are None is not recorded."""

    def __init__(
        self,
        kernel: KernelSymbols | None,
        user: ProcessReader | None,
        functions: Mapping[int, str],
        mechanisms: Mapping[str, str],
        symbols: Symbols,
        max_stack: Path = _MAX_STACK,
    ) -> None:
        """``functions``: the traced functions by number. ``mechanisms``: fentry or kprobe, by function.
        ``symbols``: the running kernel's.

        Reads ``max_stack``: a stack of that many frames may have been cut.
        """
        self._kernel = kernel
        self._user = user
        self._functions = functions
        self._mechanisms = mechanisms
        self._at_entry = at_entry(symbols)
        self._max_stack = int(max_stack.read_text())
        self.lost: dict[str, int] = {}

    def numbered(self, records: Records, dtype: np.dtype[np.void], stacks: Stacks) -> Records:
        """The records as ``dtype``, without frames; their ``stack`` is the number of the named stack in ``stacks``."""
        whole = np.ascontiguousarray(opaque(records)).view(np.uint8).reshape(len(records), records.dtype.itemsize)
        numbered: Records = np.ascontiguousarray(whole[:, : dtype.itemsize]).view(dtype).reshape(len(records))
        frames = records["frames"][:, 0]
        for row in np.flatnonzero((frames["kernel_size"] != 0) | (frames["user_size"] != 0)).tolist():
            stack = self._named(records[row], frames[row])
            for loss in stack.losses:
                self.lost[loss] = self.lost.get(loss, 0) + 1
            numbered["stack"][row] = stacks.number(stack)
        return numbered

    def close(self) -> None:
        """Ends the process that names the users' frames."""
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
            addresses = addresses[1:]  # the function's own first instruction
        return Side(symbols.callers(addresses, function, mechanism), lost)

    def _user_side(self, reader: ProcessReader, record: np.void, frames: np.void) -> Side:
        addresses, lost = self._addresses(frames, "user")
        if not addresses:
            return Side((), lost)
        process = MappedProcess(int(record["pid"]), int(frames["process_start"]), int(frames["start_stack"]))
        side = reader.named(process, addresses, int(frames["caller"]))
        return side if side.lost else side._replace(lost=lost)

    def _addresses(self, frames: np.void, side: str) -> tuple[list[int], str | None]:
        size = int(frames[f"{side}_size"])
        if size < 0:
            return [], ERRNOS.get(-size, str(-size))
        max_frames = define(f"{side.upper()}_FRAMES")
        count = size // _ADDRESS
        truncated = count >= min(max_frames, self._max_stack)
        return frames[side][: min(count, max_frames - 1)].tolist(), TRUNCATED if truncated else None
