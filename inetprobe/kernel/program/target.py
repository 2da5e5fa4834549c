"""What the running kernel offers the program: decided before it is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.kernel.host import btf
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import AUDIT_SECCOMP, SECCOMP, Symbols
from inetprobe.kernel.host.preemption import preemption
from inetprobe.kernel.program import kernel_filter, seccomp_constants, sock
from inetprobe.kernel.program.also import AlsoFunction, resolve
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import SLOTS, SLOTS_ALSO

#: The machines whose registers and stacks bpf/probe.h and bpf/include/asm/ptrace.h know.
MACHINES = ("x86_64",)
# fentry takes no function with variable arguments.
_VARIADIC = frozenset({"__request_module"})
# The most arguments fentry hands over on every kernel: those in registers. From 6.6 on it takes 12
# (arch_prepare_bpf_trampoline() of arch/x86/net/bpf_jit_comp.c).
_FENTRY_ARGUMENTS = 6
# THREAD_SIZE of x86-64 without KASAN. The stacks of interrupts have its order with and without: IRQ_STACK_SIZE of
# arch/x86/include/asm/page_64_types.h, whose struct irq_stack is in BTF, as union thread_union is not.
_STACK_SIZE = 16384
# The most returns a kretprobe can wait for (KRETPROBE_MAXACTIVE_MAX of kernel/trace/trace_kprobe.c).
_MAXACTIVE_MAX = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """This kernel, as the program is built for it under one set of options.

    ``offsets``: the structure members' offsets, as -D constants. ``fentry``: the functions that fentry can attach to,
    with their ids in the kernel's BTF. ``also``: the functions of --also. ``constants``: the -D constants that the
    filters, --sock and --stack become here. ``follow``: only COMMAND and the threads it starts are traced.
    ``stack_size``: bytes of a thread's stack in the kernel. ``cgroups``: the folders of those that the filters name.
    ``preemption``: how the kernel preempts itself (``host.preemption``), None where it does not. ``kfuncs``: the BTF
    ids of the kernel functions that keep a program from being preempted, in the order of KFUNC in bpf/helpers.h; empty
    where the kernel does not preempt itself, or has none. ``counts_skips``: does it count a kprobe's skipped programs
    itself (Linux 6.7)? ``seccomp``: the functions that tell what seccomp filters refuse. ``unseen_kills``: why those
    that they kill are not seen, None where they are.
    """

    symbols: Symbols
    offsets: Mapping[str, int]
    fentry: Mapping[str, int]
    also: tuple[AlsoFunction, ...]
    constants: Mapping[str, str]
    follow: bool = False
    stack_size: int = _STACK_SIZE
    cgroups: tuple[Path, ...] = ()
    preemption: str | None = None
    kfuncs: tuple[int, ...] = ()
    counts_skips: bool = False
    seccomp: tuple[str, ...] = ()
    unseen_kills: str | None = None

    @classmethod
    def of_kernel(
        cls, options: TraceOptions, types: btf.Btf, symbols: Symbols, cgroups: Cgroups, *, follow: bool = False
    ) -> Target:
        """What ``options`` ask of the kernel that ``types`` and ``symbols`` describe.

        Raises UsageError for a function or cgroup that does not exist, HostError where the kernel lacks what is needed.
        """
        model = preemption()
        refuse_sleeping_ring(types, model)
        functions = resolve(options.also, symbols, types)
        plain = [name for name, symbol in symbols.present().items() if name == symbol]
        unseen_kills = seccomp_constants.unseen_kills(symbols)
        seccomp = tuple(
            name
            for name, wanted in ((SECCOMP, options.seccomp), (AUDIT_SECCOMP, unseen_kills is None))
            if wanted and name in symbols
        )
        constants = kernel_filter.constants(options.filters, follow=follow)
        if options.sock:
            constants |= sock.constants(types)
        if options.stack is not None:
            constants |= options.stack.constants(types, symbols)
        if seccomp:
            constants |= seccomp_constants.constants(types, symbols)
        return cls(
            symbols,
            btf.offsets(types),
            fentry_functions(types, (*plain, *seccomp, *(function.name for function in functions))),
            functions,
            constants,
            follow,
            types.size("irq_stack") or _STACK_SIZE,
            kernel_filter.cgroup_folders(options.filters, cgroups),
            model,
            preempt_kfuncs(types) if model else (),
            # trace_call_bpf() of kernel/trace/bpf_trace.c: of the same series as this member.
            types.has_member("bpf_link_info", "perf_event", "kprobe", "missed"),
            seccomp,
            None if options.seccomp else unseen_kills,
        )

    @property
    def slots(self) -> int:
        """The most calls that a trace can hold."""
        return SLOTS_ALSO if self.also else SLOTS

    @property
    def functions(self) -> tuple[str, ...]:
        """Every traced function, the path's own outermost first, then those of --also."""
        return (*self.seccomp, *self.symbols.present(), *(function.name for function in self.also))

    @property
    def renamed(self) -> dict[str, str]:
        """The symbols of the traced functions that the compiler has renamed; their arguments are not read."""
        return {name: symbol for name, symbol in self.symbols.present().items() if name != symbol}

    def mechanisms(self, mechanism: str) -> dict[str, str]:
        """``kprobe`` or ``fentry`` for each function, where ``mechanism`` is the user's choice: ``auto`` is ``fentry``
        but on a kernel that preempts itself, where fentry would skip programs.

        Raises HostError where fentry is demanded and the kernel has none.
        """
        if mechanism == "fentry" and not self.fentry:
            raise HostError("this kernel has no usable fentry (BPF trampolines): use --mechanism kprobe or auto")
        by_fentry = self.fentry if mechanism == "fentry" or (mechanism == "auto" and not self.preemption) else {}
        return {name: "fentry" if name in by_fentry else "kprobe" for name in self.functions}


def refuse_sleeping_ring(types: btf.Btf, preemption: str | None) -> None:
    """Raises HostError where bpf_ringbuf_reserve() (kernel/bpf/ringbuf.c) takes a lock that sleeps: under PREEMPT_RT
    where ``struct bpf_ringbuf`` has no raw lock, as in 5.10."""
    if preemption == "rt" and types.type_name("bpf_ringbuf", "spinlock") == "spinlock_t":
        raise HostError(
            "this PREEMPT_RT kernel would sleep where a program sends its record (bpf_ringbuf's spinlock_t): "
            "boot another kernel, or trace in a VM: inetprobe vm -- trace"
        )


def preempt_kfuncs(types: btf.Btf) -> tuple[int, ...]:
    """The BTF ids of bpf_preempt_disable() and bpf_preempt_enable() (kernel/bpf/helpers.c); empty before Linux 6.10."""
    prototypes = (types.prototype("bpf_preempt_disable"), types.prototype("bpf_preempt_enable"))
    ids = tuple(prototype.type_id for prototype in prototypes if prototype)
    return ids if len(ids) == len(prototypes) else ()


def fentry_functions(types: btf.Btf, functions: Iterable[str]) -> dict[str, int]:
    """The BTF ids of the ``functions`` that fentry can attach to: described in BTF, with a fixed and small number of
    arguments, none of them a structure by value (from Linux 6.1 on that takes two places of the program's context).

    Empty on a kernel without safe trampolines (bpf_tramp_image: Linux 5.12, and Debian's 5.10).
    """
    if not types.has_struct("bpf_tramp_image"):
        return {}
    prototypes = {name: types.prototype(name) for name in functions if name not in _VARIADIC}
    return {
        name: prototype.type_id
        for name, prototype in prototypes.items()
        if prototype and prototype.arguments <= _FENTRY_ARGUMENTS and not prototype.by_value
    }


def default_maxactive(threads_max: Path = Path("/proc/sys/kernel/threads-max")) -> int:
    """Room for every thread this machine can have, up to the kernel's limit: a slot costs it some 100 bytes."""
    return min(int(threads_max.read_text()), _MAXACTIVE_MAX)
