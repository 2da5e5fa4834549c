"""Kernel addresses → names, by bcc, from /proc/kallsyms as read while inetprobe still had CAP_SYSLOG."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from inetprobe.base import text
from inetprobe.base.errors import HostError
from inetprobe.kernel.host.kallsyms import KALLSYMS

MODULES = Path("/proc/modules")
UNKNOWN = "[unknown]"
_BOUNDS = re.compile(rb"^([0-9a-f]+) \w (_stext|_etext)$", re.MULTILINE)
# The frames between a return and its kretprobe (arch/x86/kernel/kprobes/core.c, rethook.c).
_TRAMPOLINES = frozenset({"kretprobe_trampoline", "__kretprobe_trampoline", "arch_rethook_trampoline"})
# The frames above a fentry return: the program and its trampoline; on 5.10 one more, and the function.
_OF_FENTRY = 2


class Resolver(Protocol):
    """bcc's SymbolCache."""

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:  # bcc's own
        """(name, offset, module)"""


class KernelSymbols:
    """The names of the kernel's and its modules' functions, as they were when this was made.

    An address in a module that was loaded later is ``[unknown]``, and never named after the function before it.
    """

    def __init__(self, resolver: Resolver, kallsyms: Path = KALLSYMS, modules: Path = MODULES) -> None:
        """Reads the whole table. Raises HostError where the kernel hides its addresses."""
        bounds = {name: int(address, 16) for address, name in _BOUNDS.findall(kallsyms.read_bytes())}
        if not (bounds.get(b"_stext") and bounds.get(b"_etext")):
            raise HostError(
                "--stack kernel: /proc/kallsyms hides the addresses: run inetprobe as root with CAP_SYSLOG, and set "
                "kernel.kptr_restrict below 2"
            )
        self._resolver = resolver
        self._ranges = sorted([(bounds[b"_stext"], bounds[b"_etext"]), *_modules(modules)])
        self._resolver.resolve(bounds[b"_stext"], False)  # the first call makes bcc read its table

    def callers(self, addresses: Sequence[int], function: str, mechanism: str) -> tuple[str, ...]:
        """The names of the callers of ``function``, from a stack taken at its return, without the frames of tracing."""
        frames = [self._split(address) for address in addresses]
        own = 0
        if mechanism == "fentry":
            while own < len(frames) and not frames[own][0]:  # BPF code is in no module
                own += 1
            if own < len(frames) and frames[own][0] != function:
                own = min(own, _OF_FENTRY)  # the others may be callers without a name
        while own < len(frames) and (frames[own][0] in _TRAMPOLINES or frames[own][0] == function):
            own += 1
        return tuple(shown for _, shown in frames[own:])

    def _split(self, address: int) -> tuple[str, str]:
        """(the function's name, the frame as shown); the name is empty where it is unknown."""
        # A frame is a return address: after a call at the very end of a function, it is in the next function.
        name, offset, module = self._resolver.resolve(address - 1, False)
        if not name or not self._covers(address - 1):
            return "", UNKNOWN
        shown = f"{text.decode(name)}+{offset + 1:#x}"
        inside = text.decode(module or b"kernel")
        return text.decode(name), shown if inside == "kernel" else f"{shown} [{inside}]"

    def _covers(self, address: int) -> bool:
        index = bisect_right(self._ranges, (address, 1 << 64)) - 1
        return index >= 0 and self._ranges[index][0] <= address < self._ranges[index][1]


def _modules(path: Path) -> list[tuple[int, int]]:
    """(start, end) of each module, from lines of name, size, users, dependencies, state, address."""
    if not path.exists():
        return []  # CONFIG_MODULES=n
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(line[5], 16), int(line[5], 16) + int(line[1])) for line in lines]
