"""What a program is built for, and what this kernel allows: decided before bcc is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.program.also import AlsoFunction

# fentry takes no function with variable arguments.
_VARIADIC = frozenset({"__request_module"})
# fentry hands over at most so many arguments (MAX_BPF_FUNC_ARGS was 5 registers on x86-64 before 6.6, then 12).
_FENTRY_ARGUMENTS = 6
# The most returns the kernel lets a kretprobe wait for (KRETPROBE_MAXACTIVE_MAX of kernel/trace/trace_kprobe.c).
_MAXACTIVE_MAX = 4096


@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """What a program is built for.

    ``ring_size`` is in bytes, a power of two and whole pages; ``maxactive`` is how many threads may be inside one
    function at a time before a kretprobe misses returns; ``mechanism`` is ``auto``, ``kprobe`` or ``fentry``, and
    ``fentry`` the functions this kernel can attach to so; ``filters`` are the -D constants of ``filter.constants``;
    ``also`` are more functions to trace, and with ``bare`` socks are traced that no create makes. ``sock`` are the -D
    constants of ``sock.constants``, none where the fields of the sock are not asked for, ``stack`` likewise those of
    ``naming.Wanted``. With ``counting`` the kernel keeps the tables of ``maps.cells`` and sends only what needs an
    explanation, each as soon as there is one. ``verbose``: show the compiler's and the verifier's whole log.
    """

    offsets: Mapping[str, int]
    fentry: frozenset[str] = frozenset()
    mechanism: str = "auto"
    ring_size: int = 1 << 23
    maxactive: int = _MAXACTIVE_MAX
    filters: Mapping[str, str] = field(default_factory=dict)
    follow: bool = False
    also: tuple[AlsoFunction, ...] = ()
    bare: bool = False
    sock: Mapping[str, str] = field(default_factory=dict)
    stack: Mapping[str, str] = field(default_factory=dict)
    counting: Counting | None = None
    verbose: bool = False

    def mechanisms(self, functions: Iterable[str]) -> dict[str, str]:
        """``kprobe`` or ``fentry`` for each function. Raises HostError when fentry is demanded of a kernel without."""
        if self.mechanism == "fentry" and not self.fentry:
            raise HostError("this kernel has no usable fentry (BPF trampolines): use --mechanism kprobe or auto")
        wanted = self.fentry if self.mechanism != "kprobe" else frozenset()
        return {name: "fentry" if name in wanted else "kprobe" for name in functions}


def fentry_functions(types: Btf, functions: Iterable[str]) -> frozenset[str]:
    """Those of ``functions`` that fentry can attach to: described in BTF, with a fixed and small number of arguments.

    Empty on a kernel without safe trampolines (bpf_tramp_image: Linux 5.12, and Debian's 5.10).
    """
    if not types.has_struct("bpf_tramp_image"):
        return frozenset()
    prototypes = {name: types.prototype(name) for name in functions if name not in _VARIADIC}
    return frozenset(name for name, found in prototypes.items() if found and found.arguments <= _FENTRY_ARGUMENTS)


def default_maxactive(threads_max: Path = Path("/proc/sys/kernel/threads-max")) -> int:
    """Room for every thread this machine can have, as far as the kernel goes: a slot costs it some 100 bytes."""
    return min(int(threads_max.read_text()), _MAXACTIVE_MAX)


#: Whose registers and stacks bpf/probe.h and bpf/include/asm/ptrace.h know.
MACHINES = ("x86_64",)
