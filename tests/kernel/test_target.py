"""What a kernel's symbols make of the program: which functions are traced, by which name and mechanism."""

import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel import attached
from inetprobe.kernel.host.btf import Btf, Prototype
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import AUDIT_SECCOMP, PATH, SECCOMP, Symbols
from inetprobe.kernel.program import constants, seccomp_constants
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import sides
from tests.support.paths import BTF

TYPES = Btf.of_kernel(BTF / "6.1")
OTHERS = [name for name in PATH if name != "sk_prot_alloc"]


@pytest.fixture(autouse=True)
def fentry_for_all(monkeypatch):
    """BTF that describes every function, whatever the compiler called it, of a kernel that does not preempt itself."""
    monkeypatch.setattr(Btf, "has_struct", lambda types, name: True)
    monkeypatch.setattr(Btf, "prototype", lambda types, name: Prototype(3, "POINTER", 1))
    monkeypatch.setattr("inetprobe.kernel.program.target.preemption", lambda: None)


def target_of(*names, **options):
    return Target.of_kernel(TraceOptions(**options), TYPES, Symbols(names), Cgroups(None))


def described(target):
    return attached._describe(TraceOptions(), target, target.mechanisms("auto"), None)


def test_a_renamed_sk_prot_alloc_is_traced_by_kprobe_without_arguments():
    target = target_of(*OTHERS, "sk_prot_alloc.isra.0")
    assert set(target.functions) == set(PATH)
    assert target.mechanisms("fentry") == {
        **dict.fromkeys(PATH, "fentry"), "sk_prot_alloc": "kprobe", "__request_module": "kprobe",
    }  # fmt: skip
    mechanisms = target.mechanisms("auto")
    defined = constants.of_program(TraceOptions(), target, mechanisms, cpus=1, task_storage=True)
    assert (defined["MECHANISM_sk_prot_alloc"], defined["SK_PROT_ALLOC_ARGUMENTS"]) == ("KPROBE", 0)
    run = described(target)
    assert run.symbols == {"sk_prot_alloc": "sk_prot_alloc.isra.0"}
    assert run.functions[3] == "sk_prot_alloc"


def test_an_inlined_sk_prot_alloc_has_no_program_and_no_place_in_the_run():
    target = target_of(*OTHERS)
    assert set(target.functions) == set(OTHERS)
    defined = constants.of_program(TraceOptions(), target, target.mechanisms("auto"), cpus=1, task_storage=True)
    assert "MECHANISM_sk_prot_alloc" not in defined
    run = described(target)
    assert run.symbols == {}
    assert set(run.functions.values()) == set(OTHERS)
    assert "sk_prot_alloc" not in run.mechanisms


def test_arguments_of_sk_prot_alloc_under_its_own_name_are_read():
    target = target_of(*PATH, "sk_prot_alloc.cold")
    defined = constants.of_program(TraceOptions(), target, target.mechanisms("auto"), cpus=1, task_storage=True)
    assert (defined["MECHANISM_sk_prot_alloc"], defined["SK_PROT_ALLOC_ARGUMENTS"]) == ("FENTRY", 1)
    assert described(target).symbols == {}


def test_how_the_kernel_preempts_itself_decides_and_is_described(monkeypatch):
    monkeypatch.setattr("inetprobe.kernel.program.target.preemption", lambda: "lazy")
    target = target_of(*PATH)
    run = described(target)
    assert run.preemption == "lazy"
    assert set(run.mechanisms.values()) == {"kprobe"}


def test_a_ring_that_may_sleep_ends_the_start(monkeypatch):
    monkeypatch.setattr("inetprobe.kernel.program.target.preemption", lambda: "rt")
    monkeypatch.setattr(Btf, "type_name", lambda types, *path: "spinlock_t")
    with pytest.raises(HostError, match="PREEMPT_RT"):
        target_of(*PATH)


def test_seccomp_is_traced_at_its_return_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(Btf, "offset", lambda types, *path: 8)
    without, wanted = target_of(*PATH, SECCOMP), target_of(*PATH, SECCOMP, seccomp=True)
    assert SECCOMP not in without.functions
    assert SECCOMP not in target_of(*PATH, seccomp=True).functions  # a kernel without CONFIG_SECCOMP
    assert wanted.functions[0] == SECCOMP
    assert sides(SECCOMP) == ("return",)
    assert wanted.constants["SECURE_COMPUTING_ARGUMENTS"] == "3"
    assert wanted.constants["TASK_PT_REGS"] == "0"
    assert described(wanted).functions[24] == SECCOMP
    assert 24 not in described(without).functions


def test_threads_that_a_filter_kills_are_traced_where_the_kernel_logs_them(monkeypatch):
    monkeypatch.setattr(Btf, "offset", lambda types, *path: 8)
    unseen = None
    monkeypatch.setattr(seccomp_constants, "unseen_kills", lambda symbols: unseen)
    target = target_of(*PATH, SECCOMP, AUDIT_SECCOMP)
    assert (target.seccomp, target.unseen_kills) == ((AUDIT_SECCOMP,), None)
    assert sides(AUDIT_SECCOMP) == ("entry",)
    assert AUDIT_SECCOMP in target.fentry
    assert target.constants["OFF_TASK_SECCOMP_MODE"] == "8"
    assert described(target).functions[24] == SECCOMP  # by which its traces go
    assert target_of(*PATH, SECCOMP, AUDIT_SECCOMP, seccomp=True).seccomp == (SECCOMP, AUDIT_SECCOMP)
    unseen = "not seen"
    target = target_of(*PATH, SECCOMP, AUDIT_SECCOMP)
    assert (target.seccomp, target.unseen_kills) == ((), "not seen")
    target = target_of(*PATH, SECCOMP, AUDIT_SECCOMP, seccomp=True)
    assert (target.seccomp, target.unseen_kills) == ((SECCOMP,), None)


@pytest.mark.parametrize(
    ("logged", "names", "why"),
    [
        ("kill_process kill_thread trap errno\n", [AUDIT_SECCOMP], None),
        ("kill_process trap\n", [AUDIT_SECCOMP], "kernel.seccomp.actions_logged lacks kill_thread"),
        ("kill_thread\n", [AUDIT_SECCOMP], "kernel.seccomp.actions_logged lacks kill_process"),
        ("\n", [AUDIT_SECCOMP], "kernel.seccomp.actions_logged lacks kill_process and kill_thread"),
        ("kill_process kill_thread\n", [], "this kernel has no audit_seccomp (CONFIG_AUDITSYSCALL)"),
        (None, [], None),  # a kernel without filters
    ],
)
def test_it_is_known_why_the_killed_are_not_seen(tmp_path, logged, names, why):
    folder = tmp_path / "proc/sys/kernel/seccomp"
    folder.mkdir(parents=True)
    if logged is not None:
        (folder / "actions_logged").write_text(logged)
    said = f"sockets for which a seccomp filter kills are not seen without --seccomp: {why}" if why else None
    assert seccomp_constants.unseen_kills(Symbols([*PATH, *names]), tmp_path) == said


def test_a_sysctl_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "proc/sys/kernel/seccomp/actions_logged").mkdir(parents=True)
    said = seccomp_constants.unseen_kills(Symbols([*PATH, AUDIT_SECCOMP]), tmp_path)
    assert said.endswith("proc/sys/kernel/seccomp/actions_logged cannot be read: Is a directory")
