"""What is decided for a kernel; Target.of_kernel as a whole takes one, and is in tests/live."""

import dataclasses
from types import SimpleNamespace

import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import Prototype
from inetprobe.kernel.host.kallsyms import OPTIONAL, REQUIRED, Symbols
from inetprobe.kernel.program import constants, target
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions

FUNCTIONS = (*REQUIRED, *OPTIONAL)
FENTRY = {name: 1 for name in FUNCTIONS if name != "__request_module"}


def of(preemption=None, fentry=FENTRY):
    return Target(Symbols(FUNCTIONS), {}, fentry, (), {}, preemption=preemption)


@pytest.mark.parametrize(
    ("mechanism", "preemption", "taken"),
    [
        ("auto", None, "fentry"),
        ("auto", "lazy", "kprobe"),
        ("auto", "unknown", "kprobe"),
        ("fentry", "full", "fentry"),
        ("kprobe", None, "kprobe"),
    ],
)
def test_auto_is_exact_first(mechanism, preemption, taken):
    mechanisms = of(preemption).mechanisms(mechanism)
    assert mechanisms == dict.fromkeys(FUNCTIONS, taken) | {"__request_module": "kprobe"}


def test_without_fentry_auto_is_kprobes():
    assert set(of(fentry={}).mechanisms("auto").values()) == {"kprobe"}
    with pytest.raises(HostError, match="no usable fentry"):
        of(fentry={}).mechanisms("fentry")


def test_the_program_knows_that_fentry_may_skip_programs():
    """It then takes no create for nested only because no return of fentry's is ever missed: nests() in bpf/thread.h."""
    for preemption, defined in (None, None), ("full", 1):
        made = of(preemption)
        flags = constants.of_program(TraceOptions(), made, made.mechanisms("fentry"), cpus=1, task_storage=True)
        assert flags.get("PREEMPTIBLE") == defined


@pytest.mark.parametrize(
    ("missing", "kfuncs"), [((), (7, 8)), (("bpf_preempt_enable",), ()), (("bpf_preempt_disable",), ())]
)
def test_programs_that_may_be_preempted_keep_the_kernel_from_it_where_they_can(missing, kfuncs):
    ids = {"bpf_preempt_disable": 7, "bpf_preempt_enable": 8}
    types = SimpleNamespace(
        prototype=lambda name: None if name in missing else Prototype(0, "VOID", ids[name]),
    )
    assert target.preempt_kfuncs(types) == kfuncs
    made = dataclasses.replace(of("full"), kfuncs=kfuncs)
    flags = constants.of_program(TraceOptions(), made, made.mechanisms("fentry"), cpus=1, task_storage=True)
    assert flags.get("PREEMPT_KFUNCS", 0) == bool(kfuncs)


class Types:
    """BTF of a kernel whose ring buffer's lock is of this type."""

    def __init__(self, lock):
        self.lock = lock

    def type_name(self, *path):
        assert path == ("bpf_ringbuf", "spinlock")
        return self.lock


@pytest.mark.parametrize(("model", "lock"), [("rt", "raw_spinlock_t"), ("full", "spinlock_t"), (None, "spinlock_t")])
def test_a_ring_whose_lock_does_not_sleep(model, lock):
    target.refuse_sleeping_ring(Types(lock), model)


def test_a_ring_whose_lock_sleeps_is_refused():
    with pytest.raises(HostError, match=r"PREEMPT_RT .* boot another kernel"):
        target.refuse_sleeping_ring(Types("spinlock_t"), "rt")
