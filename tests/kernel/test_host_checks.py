"""The checks on recorded trees, over stand-ins for bpf(), the compiler and the trial."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel import host_checks
from inetprobe.kernel.host import syscall, tracefs
from inetprobe.kernel.program import compiler
from inetprobe.kernel.program.code_cache import Code
from inetprobe.kernel.program.target import Target
from tests.support.paths import BTF

CODE = Code({"trial": syscall.RETURN_0}, (("/usr/lib/libbcc.so.0.26.0", 1, 1),))
FAILURE_IN_CHILD = host_checks.trial.failure_in_child
FUNCTIONS = ["inet_create", "sk_alloc", "sk_prot_alloc", "inet6_create", "__request_module", "register_kprobe"]


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    """A stand-in for what is asked of this machine: bpf(), the compiler and the trial all work. The recorded BTF has no
    functions: fentry takes all but the variadic one."""
    stand_in = SimpleNamespace(refusal=None, tried=[])

    def load(type_, name, code, btf_id=0):
        if stand_in.refusal is not None:
            raise syscall.ProgramRefused(stand_in.refusal, "")
        return os.open(os.devnull, os.O_RDONLY)

    def failure_in_child(attempt):
        stand_in.tried.append((attempt.func.__name__, attempt.args[0]))
        return None

    monkeypatch.setattr(syscall, "load_program", load)
    monkeypatch.setattr(host_checks.trial, "failure_in_child", failure_in_child)
    monkeypatch.setattr(host_checks, "compile_program", lambda *_: CODE)
    monkeypatch.setattr(host_checks, "fentry_functions", by_fentry)
    monkeypatch.setattr(host_checks.kprobe, "refusal", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return stand_in


def by_fentry(_types, functions):
    return {name: 7 for name in functions if name != "__request_module"}


def tree(
    root,
    *,
    caps="000001ffffffffff",
    lockdown="[none] integrity confidentiality",
    functions=FUNCTIONS,
    tracefs=True,
    pmu=True,
):
    files = {
        "proc/self/status": f"Name:\tpython3\nCapEff:\t{caps}\n",
        "proc/self/uid_map": "         0          0 4294967295\n",
        "proc/kallsyms": "".join(f"0000000000000000 T {name}\n" for name in functions),
        "sys/kernel/security/lockdown": lockdown,
        "sys/kernel/debug/kprobes/enabled": "1\n",
    }
    if tracefs:
        files["sys/kernel/tracing/kprobe_events"] = ""
    if pmu:
        files["sys/bus/event_source/devices/kprobe/type"] = "6\n"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sys/bus").mkdir(exist_ok=True)
    (root / "sys/kernel/btf").mkdir(parents=True)
    shutil.copy(BTF / "6.1", root / "sys/kernel/btf/vmlinux")
    return root


def checks_of(root):
    return {check.name: check for check in host_checks.examine(root)}


def refusal(root):
    """What a live run says."""
    with pytest.raises(HostError) as caught:
        host_checks.demand(root)
    return str(caught.value)


def target(functions, fentry, preemption=None):
    made = SimpleNamespace(functions=functions, fentry=fentry, preemption=preemption)
    made.mechanisms = partial(Target.mechanisms, made)
    return made


def test_a_good_machine(tmp_path):
    checks = checks_of(tree(tmp_path))
    assert {check.status for check in checks.values()} == {"ok"}
    assert list(checks) == [
        *("machine", "privileges", "lockdown", "bpf", "kprobes", "tracefs", "btf", "mechanism", "symbols"),
        *("ipv4", "ipv6", "modules", "prot_alloc", "seccomp"),
        *("landlock", "libseccomp", "bcc", "kprobe", "fentry", "fexit", "tracepoint"),
    ]
    host_checks.demand(tmp_path)


def test_bpf_and_perfmon_are_enough(tmp_path):
    caps = f"{1 << 38 | 1 << 39:016x}"
    assert checks_of(tree(tmp_path, caps=caps))["privileges"].status == "ok"


@pytest.mark.parametrize(
    ("uid", "sentence"),
    [
        (
            1000,
            "tracing needs root (or CAP_BPF and CAP_PERFMON, and access to tracefs): run it again with sudo",
        ),
        (
            0,
            "root has neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON here: "
            "start the container with --cap-add=bpf --cap-add=perfmon --cap-add=sys_admin",
        ),
    ],
)
def test_no_privileges(tmp_path, monkeypatch, kernel, uid, sentence):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    kernel.refusal = errno.EPERM
    root = tree(tmp_path, caps="0000000000000000")
    checks = checks_of(root)
    assert refusal(root) == sentence == f"{checks['privileges'].finding}: {checks['privileges'].fix}"
    assert checks["bpf"].fix == checks["privileges"].fix
    assert kernel.tried == []
    assert checks["trial"].finding == "no probe was tried, since this failed: privileges, bpf"


def test_without_proc(tmp_path):
    assert refusal(tmp_path) == "/proc is not mounted here: mount -t proc proc /proc"


IN_A_VM = "trace in a VM: inetprobe vm -- trace"


@pytest.mark.parametrize(
    ("error", "why", "fix"),
    [
        (errno.ENOSYS, "Function not implemented", "boot a kernel with CONFIG_BPF_SYSCALL=y"),
        (errno.EINVAL, "Invalid argument", "boot a kernel with CONFIG_BPF_EVENTS=y"),
        (errno.EPERM, "Operation not permitted", "start the container with --security-opt seccomp=unconfined"),
    ],
)
def test_a_kernel_that_loads_no_programs(tmp_path, kernel, error, why, fix):
    kernel.refusal = error
    assert refusal(tree(tmp_path)) == f"bpf() refuses to load a kprobe program ({why}): {fix}, or {IN_A_VM}"


def test_root_of_a_user_namespace(tmp_path, kernel):
    kernel.refusal = errno.EPERM
    root = tree(tmp_path)
    (root / "proc/self/uid_map").write_text("0 1000 1\n")
    why = "bpf() refuses to load a kprobe program (Operation not permitted) to root of a user namespace"
    assert refusal(root) == f"{why}: start the container as real root"


@pytest.mark.parametrize("content", ["", None])
def test_no_symbols(tmp_path, content):
    root = tree(tmp_path)
    (root / "proc/kallsyms").unlink()
    if content is not None:
        (root / "proc/kallsyms").write_text(content)
    sentences = {
        "": "/proc/kallsyms is hidden here: start the container with --security-opt systempaths=unconfined, "
        "or the unit with ProtectKernelTunables=no",
        None: f"this kernel has no /proc/kallsyms: boot a kernel with CONFIG_KALLSYMS=y, or {IN_A_VM}",
    }
    assert refusal(root) == sentences[content]
    assert checks_of(root)["symbols"].status == "failed"


NO_KPROBES = "this kernel has no kprobes"
BOOT = f"boot a kernel with CONFIG_KPROBE_EVENTS=y, or {IN_A_VM}"


@pytest.mark.parametrize(
    ("functions", "mechanism", "refused", "sentence"),
    [
        (("inet_create", "__request_module"), "auto", None, f"{NO_KPROBES}: {BOOT}"),
        (("inet_create",), "kprobe", None, f"{NO_KPROBES}: {BOOT}"),
        (
            ("inet_create",),
            "auto",
            errno.EPERM,
            f"{NO_KPROBES}, and fentry does not work (it is not loaded: Operation not permitted): {BOOT}",
        ),
        (("inet_create",), "auto", None, None),
    ],
)
def test_a_kernel_without_kprobes_is_traced_by_fentry_alone_or_not_at_all(
    tmp_path, monkeypatch, kernel, functions, mechanism, refused, sentence
):
    kernel.refusal = refused
    monkeypatch.setattr(syscall, "attach", lambda fd: os.open(os.devnull, os.O_RDONLY))
    root = tree(tmp_path, tracefs=False, pmu=False)
    wanted = target(functions, {"inet_create": 7})
    if sentence is None:
        host_checks.demand_probes(wanted, mechanism, root)
        return
    with pytest.raises(HostError) as caught:
        host_checks.demand_probes(wanted, mechanism, root)
    assert str(caught.value) == sentence


def test_auto_takes_kprobes_on_a_preempting_kernel_and_is_refused_without_them(tmp_path):
    wanted, root = target(("inet_create",), {"inet_create": 7}, "full"), tree(tmp_path, tracefs=False, pmu=False)
    with pytest.raises(HostError, match=NO_KPROBES):
        host_checks.demand_probes(wanted, "auto", root)


def test_kprobes_without_a_name_are_enough(tmp_path):
    root = tree(tmp_path, tracefs=False)
    host_checks.demand(root)
    host_checks.demand_probes(target(("__request_module",), {}), "auto", root)


def test_without_sysfs(tmp_path):
    (tmp_path / "sys").mkdir()
    with pytest.raises(HostError) as caught:
        host_checks.demand_probes(target(("__request_module",), {}), "auto", tmp_path)
    assert str(caught.value) == "/sys is not mounted here: mount -t sysfs sysfs /sys"


def test_only_confidentiality_blocks(tmp_path):
    assert checks_of(tree(tmp_path / "a", lockdown="none [integrity] confidentiality"))["lockdown"].status == "ok"
    assert checks_of(tree(tmp_path / "b", lockdown="none integrity [confidentiality]"))["lockdown"].status == "failed"


def test_no_tracefs_says_how_to_mount_it(tmp_path):
    check = checks_of(tree(tmp_path, tracefs=False))["tracefs"]
    assert check.status == "warning"
    assert check.finding == "tracefs is not mounted: kprobes have no names, and their hits are not counted"
    assert check.fix.startswith("mount -t tracefs tracefs /sys/kernel/tracing (a container: ")


def test_a_tracefs_that_cannot_be_written_is_not_to_be_mounted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    for pmu, status in ((True, "warning"), (False, "failed")):
        check = checks_of(tree(tmp_path / str(pmu), pmu=pmu))["tracefs"]
        assert check.status == status
        assert check.fix.startswith("mount -o remount,rw /sys/kernel/tracing ")


def test_a_kernel_without_kprobes_is_not_told_to_mount_tracefs(tmp_path):
    checks = checks_of(tree(tmp_path, tracefs=False, pmu=False))
    assert (checks["kprobes"].status, checks["kprobes"].fix) == ("failed", BOOT)
    assert (checks["tracefs"].status, checks["tracefs"].fix) == ("ok", "")


def test_a_closed_tracefs_is_not_to_be_mounted_again(tmp_path, monkeypatch):
    root, stat = tree(tmp_path), Path.stat

    def closed(path, **given):
        if path.name == "kprobe_events":
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **given)

    monkeypatch.setattr(Path, "stat", closed)
    sentence = f"{root}/sys/kernel/tracing is closed to this user: run it again with sudo"
    assert refusal(root) == sentence
    check = checks_of(root)["tracefs"]
    assert f"{check.finding}: {check.fix}" == sentence


def test_kprobes_switched_off(tmp_path):
    root = tree(tmp_path)
    (root / "sys/kernel/debug/kprobes/enabled").write_text("0\n")
    assert checks_of(root)["kprobes"].status == "failed"


def test_perf_event_open_that_is_refused_names_the_sysctl(tmp_path, monkeypatch):
    """As Debian's kernels do, to all without CAP_SYS_ADMIN, by default."""
    root = tree(tmp_path)
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/perf_event_paranoid").write_text("3\n")
    monkeypatch.setattr(host_checks.kprobe, "refusal", lambda: PermissionError(errno.EACCES, "Permission denied"))
    sentence = (
        "perf_event_open() is refused (Permission denied; kernel.perf_event_paranoid is 3): "
        "add CAP_SYS_ADMIN (a container: --cap-add=sys_admin), or sysctl kernel.perf_event_paranoid=2"
    )
    assert checks_of(root)["kprobes"].status == "failed"
    with pytest.raises(HostError) as caught:
        host_checks.demand_probes(target(("inet_create",), {}), "kprobe", root)
    assert str(caught.value) == sentence


def test_no_btf_names_the_option(tmp_path):
    root = tree(tmp_path)
    (root / "sys/kernel/btf/vmlinux").unlink()
    assert "CONFIG_DEBUG_INFO_BTF" in checks_of(root)["btf"].fix


def test_no_bcc_names_the_package(tmp_path, monkeypatch):
    def compiles(text, flags, log, limit_s):
        raise compiler.no_libbcc("libbcc.so.0: cannot open shared object file", tmp_path)

    monkeypatch.setattr(host_checks, "compile_program", compiles)
    monkeypatch.setattr(host_checks.libbcc, "installed", lambda root=None: None)
    root = tree(tmp_path)
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text("ID=fedora\n")
    check = checks_of(root)["bcc"]
    assert check.finding == "there is no BCC, the compiler (libbcc.so.0: cannot open shared object file)"
    assert (check.status, check.fix) == ("failed", "dnf install bcc")


def test_a_compiler_that_dies_is_named_with_its_version(tmp_path, monkeypatch):
    def compiles(text, flags, log, limit_s):
        raise HostError("bcc's compiler ended by SIGABRT: LLVM ERROR", "inetprobe trace -v shows all that it wrote")

    library = tmp_path / "usr/lib64/libbcc.so.0.31.0"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setattr(host_checks, "compile_program", compiles)
    monkeypatch.setattr(host_checks.libbcc, "installed", lambda: library)
    check = checks_of(tree(tmp_path))["bcc"]
    assert check.finding == "bcc's compiler ended by SIGABRT: LLVM ERROR (bcc 0.31.0)"


def test_each_mechanism_is_tried_as_the_start_would(tmp_path, kernel):
    named, unnamed = tree(tmp_path / "named"), tree(tmp_path / "unnamed", tracefs=False)
    assert checks_of(named)["kprobe"].finding.endswith("a kprobe and a kretprobe on inet_create, named in tracefs")
    rest = [("trampoline", syscall.FENTRY), ("trampoline", syscall.FEXIT), ("tracepoint", "sched_process_exit")]
    assert kernel.tried == [("kprobes", named / "sys/kernel/tracing"), *rest]
    kernel.tried.clear()
    assert checks_of(unnamed)["kprobe"].finding.endswith("a kprobe and a kretprobe on inet_create, without a name")
    assert kernel.tried == [("kprobes", None), *rest]


NO_MODULES = [name for name in FUNCTIONS if name != "__request_module"]


@pytest.mark.parametrize(
    ("functions", "failing", "statuses"),
    [
        (FUNCTIONS, {"kprobes"}, {"kprobe": "failed", "fentry": "ok", "fexit": "ok", "tracepoint": "ok"}),
        (NO_MODULES, {"kprobes"}, {"kprobe": "warning", "fentry": "ok", "fexit": "ok", "tracepoint": "ok"}),
        (FUNCTIONS, {"trampoline"}, {"kprobe": "ok", "fentry": "warning", "fexit": "warning", "tracepoint": "ok"}),
        (FUNCTIONS, {"tracepoint"}, {"kprobe": "ok", "fentry": "ok", "fexit": "ok", "tracepoint": "failed"}),
        (
            NO_MODULES,
            {"kprobes", "trampoline"},
            {"kprobe": "failed", "fentry": "failed", "fexit": "failed", "tracepoint": "ok"},
        ),
    ],
)
def test_a_mechanism_that_another_replaces_is_only_missed(tmp_path, monkeypatch, functions, failing, statuses):
    def failure_in_child(attempt):
        return "the process died of SIGSEGV" if attempt.func.__name__ in failing else None

    monkeypatch.setattr(host_checks.trial, "failure_in_child", failure_in_child)
    checks = checks_of(tree(tmp_path, functions=functions))
    assert {name: checks[name].status for name in statuses} == statuses
    assert all("the process died of SIGSEGV" in checks[name].finding for name in statuses if statuses[name] != "ok")


def test_a_child_that_dies_leaves_no_kprobe(tmp_path, monkeypatch):
    """The kernel takes removals as appended lines; this ordinary file keeps them."""

    def dies(folder, function, code):
        tracefs.add_kprobe(folder, function, 1, None)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(host_checks.trial, "failure_in_child", FAILURE_IN_CHILD)
    monkeypatch.setattr(host_checks.trial, "kprobes", dies)
    monkeypatch.setattr(syscall, "attach", lambda *_: os.open(os.devnull, os.O_RDONLY))
    root = tree(tmp_path)
    check = checks_of(root)["kprobe"]
    assert (check.status, check.fix) == ("failed", IN_A_VM)
    assert check.finding == ("a kprobe and a kretprobe on inet_create, named in tracefs: the process died of SIGKILL")
    added, removed = (root / "sys/kernel/tracing/kprobe_events").read_text().splitlines()
    assert removed == f"-:{added.split()[0].partition(':')[2]}"


def test_a_missing_optional_function_is_a_warning(tmp_path):
    checks = checks_of(tree(tmp_path, functions=[name for name in FUNCTIONS if name != "__request_module"]))
    assert checks["modules"].status == "warning"
    assert "CONFIG_MODULES" in checks["modules"].finding


def test_the_killed_that_are_not_seen_are_a_warning(tmp_path):
    root = tree(tmp_path)
    (root / "proc/sys/kernel/seccomp").mkdir(parents=True)
    (root / "proc/sys/kernel/seccomp/actions_logged").write_text("trap\n")
    check = checks_of(root)["seccomp"]
    assert (check.status, "without --seccomp" in check.finding) == ("warning", True)


@pytest.mark.parametrize(
    ("check", "missing", "instead", "finding"),
    [
        ("ipv4", "inet_create", ["inet_create.part.0.constprop.0"], "there are no AF_INET calls to see"),
        (
            "ipv6",
            "inet6_create",
            [],
            "this kernel has no inet6_create (CONFIG_IPV6): there are no AF_INET6 calls to see",
        ),
        ("prot_alloc", "sk_prot_alloc", [], "no trace has a call of it"),
        ("prot_alloc", "sk_prot_alloc", ["sk_prot_alloc.part.0"], "no trace has a call of it"),
        ("prot_alloc", "sk_prot_alloc", ["sk_prot_alloc.isra.0"], "traced by a kprobe without its arguments"),
    ],
)
def test_a_function_that_the_compiler_took_away_is_a_warning(tmp_path, check, missing, instead, finding):
    checks = checks_of(tree(tmp_path, functions=[*(name for name in FUNCTIONS if name != missing), *instead]))
    assert checks["symbols"].status == "ok"
    assert {name for name, its in checks.items() if its.status == "warning"} == {check}
    assert finding in checks[check].finding
    assert all(name in checks[check].finding for name in (missing, *instead))


@pytest.mark.parametrize("missing", [["sk_alloc"], ["inet_create", "inet6_create"]])
def test_a_missing_required_function_is_named(tmp_path, missing):
    checks = checks_of(tree(tmp_path, functions=[name for name in FUNCTIONS if name not in missing]))
    assert checks["symbols"].status == "failed"
    assert all(name in checks["symbols"].finding for name in missing)


def test_every_failure_has_a_fix(tmp_path):
    checks = checks_of(tmp_path_with_nothing(tmp_path))
    assert not host_checks.traceable(list(checks.values()))
    assert all(check.fix for check in checks.values() if check.status == "failed")


def tmp_path_with_nothing(root):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text("CapEff:\t0000000000000000\n")
    return root


def test_next_is_one_command(monkeypatch):
    good = host_checks.Check("machine", "ok", "")
    assert host_checks.next_command([good]).startswith("inetprobe trace -- ")
    assert host_checks.next_command([good, host_checks.Check("lockdown", "failed", "", "x")]).startswith(
        "inetprobe vm -- trace"
    )
    without = [host_checks.Check("privileges", "failed", "", "x")]
    assert host_checks.next_command(without).startswith("inetprobe vm -- trace"), "it is root already"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host_checks.next_command(without) == "sudo inetprobe doctor"


def test_json_and_text_have_the_next_command():
    inetprobe = [sys.executable, "-m", "inetprobe", "doctor"]
    report = json.loads(subprocess.run([*inetprobe, "--format", "json"], capture_output=True, check=False).stdout)
    shown = subprocess.run(inetprobe, capture_output=True, text=True, check=False).stdout
    assert report["next"].startswith(("inetprobe ", "sudo inetprobe "))
    assert shown.endswith(f" Next: {report['next']}\n")


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("none (voluntary) full", "ok", "auto takes fentry where it can: this kernel does not preempt itself"),
        ("none voluntary (full)", "ok", "auto takes kprobes: this kernel preempts itself (full)"),
        (None, "warning", "auto takes kprobes: whether this kernel preempts itself"),
    ],
)
def test_the_mechanism_that_auto_takes_comes_with_its_reason(tmp_path, model, status, said):
    tree(tmp_path)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/version").write_text("#1 SMP PREEMPT_DYNAMIC Debian 6.12\n")
    if model is not None:
        (tmp_path / "sys/kernel/debug/sched").mkdir()
        (tmp_path / "sys/kernel/debug/sched/preempt").write_text(model)
    check = checks_of(tmp_path)["mechanism"]
    assert check.status == status
    assert check.finding.startswith(said)
    assert bool(check.fix) == (status == "warning")
