"""Every kind of BPF program that there is, as the -D with which it is compiled."""

from inetprobe.kernel.frames import naming
from inetprobe.kernel.frames.naming import StackOptions
from inetprobe.kernel.host.btf import Btf, Prototype, offsets
from inetprobe.kernel.host.kallsyms import AUDIT_SECCOMP, PATH, SECCOMP, Symbols
from inetprobe.kernel.maps import definitions
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.program import compiler, constants, sock
from inetprobe.kernel.program.also import AlsoFunction
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.filter import build
from inetprobe.record.layout import ALSO_MAX, FUNCTION_ALSO, sides
from tests.support.paths import TESTS

BTF = Btf.of_kernel(TESTS / "btf" / "6.1")
FUNCTIONS = PATH
RENAMED = Symbols([*(name for name in PATH if name != "sk_prot_alloc"), "sk_prot_alloc.isra.0"])
FEWEST = Symbols(["inet6_create", "sk_alloc"])
STACK = {name: number for number, name in enumerate(naming._OFFSETS)} | {
    "STACK_KERNEL": 1, "STACK_USER": 1, "STACK_AT_ENTRY": 1, "STACK_SLOW_NS": "0ULL", "INETPROBE_STACKS": 1,
}  # fmt: skip
ALSO = tuple(
    AlsoFunction(f"also_{number}", FUNCTION_ALSO + number, Prototype(number % 6, returns, 1))
    for number, returns in zip(range(ALSO_MAX), ["VOID", "POINTER", "8", "16", "32"] * 4, strict=False)
)
SECCOMP_CONSTANTS = {
    "SECURE_COMPUTING_ARGUMENTS": 1, "TASK_PT_REGS": 1, "OFF_TASK_STATUS": 16, "OFF_TASK_SECCOMP_MODE": 2048,
}  # fmt: skip
ALL = build({"family": ["all"]})
COUNTING = Counting(slow_ns=1000)
KEEP_WHO = "(WHO_UID == 0 && WHO_CGROUP(1) && WHO_COMM(1ULL, 2ULL))"
KILLED = {"seccomp": (AUDIT_SECCOMP,), "constants": SECCOMP_CONSTANTS}
BOTH = {"seccomp": (SECCOMP, AUDIT_SECCOMP), "constants": SECCOMP_CONSTANTS}
# (options, what else the target has); "hash": without task storage.
VARIANTS = {
    "trace": ({}, KILLED),
    "filtered": (
        {},
        {
            "constants": {"KEEP_WHO": "(WHO_UID == 0 && WHO_CGROUP(1) && WHO_COMM(1ULL, 2ULL))"},
            "cgroups": (TESTS, TESTS),
        },
    ),
    "follow": ({}, {"follow": True, "constants": {"KEEP_WHO": "WHO_FOLLOWED"}}),
    "pidns": ({}, {"follow": True, "constants": {"KEEP_WHO": "WHO_FOLLOWED", "PIDNS_INO": "7ULL", "PIDNS_DEV": 4}}),
    "also": ({"also": ("x",)}, {"also": ALSO}),
    "seccomp": ({}, BOTH),
    "seccomp before 5.15": (
        {},
        {
            "seccomp": (SECCOMP,),
            "follow": True,
            "constants": SECCOMP_CONSTANTS | {"TASK_PT_REGS": 0, "KEEP_WHO": "WHO_FOLLOWED"},
        },
    ),
    "sock": ({"sock": True}, {"constants": sock.constants(BTF)}),
    "stack": ({"stack": StackOptions(True, True, 0)}, {"constants": STACK}),
    "preemptible": ({}, {"preemption": "full", "kfuncs": (1, 2)}),
    "bare": ({"filters": ALL}, {}),
    "serve": ({"counting": COUNTING}, KILLED),
    "serve with seccomp": ({"counting": COUNTING}, BOTH),
    "renamed": ({"filters": ALL}, {"symbols": RENAMED}),
    "fewest": ({"filters": ALL}, {"symbols": FEWEST}),
    "everything": (
        {"filters": ALL, "also": ("x",), "sock": True, "stack": StackOptions(True, True, 0)},
        {
            "also": ALSO,
            "seccomp": (SECCOMP, AUDIT_SECCOMP),
            "follow": True,
            "constants": {"KEEP_WHO": "WHO_FOLLOWED", **SECCOMP_CONSTANTS, **STACK, **sock.constants(BTF)},
        },
    ),
}
CASES = [
    (name, mechanism, task_storage)
    for name in VARIANTS
    for mechanism, task_storage in [("kprobe", True), ("fentry", True), ("kprobe", False)]
]


def ids(case):
    return f"{case[0]}-{case[1]}-{'storage' if case[2] else 'hash'}"


def variant(case):
    """(the compiler's -D, the indices of the maps that are made, the traced functions) of one of ``CASES``."""
    name, mechanism, task_storage = case
    given, extra = VARIANTS[name]
    options = TraceOptions(**given)
    extra = {"symbols": Symbols(FUNCTIONS), "also": (), "constants": {}, **extra}
    target = Target(offsets=offsets(BTF), fentry=dict.fromkeys(FUNCTIONS, 1), **extra)
    mechanisms = dict.fromkeys(target.functions, mechanism)
    mechanisms |= dict.fromkeys({"__request_module", *target.renamed} & mechanisms.keys(), "kprobe")
    defined = constants.of_program(options, target, mechanisms, cpus=4, task_storage=task_storage)
    bare = options.filters.beyond_inet
    made = definitions.of_program(
        ring_size=1 << 20,
        cpus=4,
        calls=target.slots,
        serve="counting" in given,
        follow=target.follow,
        bare=bare,
        cgroups=len(target.cgroups),
    )
    made |= definitions.of_displaced(target.slots, task_storage=task_storage)
    return compiler.defines_of(defined), {definitions.INDEX[name] for name in made}, target.functions


def assert_complete(functions, made, traced):
    """The compiled ``functions`` are both sides of each traced function, and name only maps that are ``made``."""
    used = set().union(*map(_maps_of, functions.values()))
    assert used
    assert used <= made
    programs = {f"{side}_{function}" for function in traced for side in sides(function)} | {"thread_exit"}
    assert programs <= set(functions)
    assert set(functions) - programs <= {"follow_fork", "entry___request_module", "return___request_module"}


def _maps_of(code):
    """The indices of the maps that a function names: see struct bpf_insn."""
    words = [code[at : at + 8] for at in range(0, len(code), 8)]
    return {int.from_bytes(word[4:], "little") for word in words if word[0] == 0x18 and word[1] >> 4 in (1, 2)}
