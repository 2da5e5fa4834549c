"""The checks that read files, on recorded trees; the others, on this machine."""

import json
import shutil
import subprocess
import sys

import pytest

from inetprobe.kernel import host_checks
from tests.support.paths import BTF

FUNCTIONS = ["inet_create", "sk_alloc", "sk_prot_alloc", "inet6_create", "__request_module", "register_kprobe"]


def tree(
    root, *, caps="000001ffffffffff", lockdown="[none] integrity confidentiality", functions=FUNCTIONS, tracefs=True
):
    files = {
        "proc/self/status": f"Name:\tpython3\nCapEff:\t{caps}\n",
        "proc/kallsyms": "".join(f"0000000000000000 T {name}\n" for name in functions),
        "sys/kernel/security/lockdown": lockdown,
        "sys/kernel/debug/kprobes/enabled": "1\n",
    }
    if tracefs:
        files["sys/kernel/tracing/kprobe_events"] = ""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sys/kernel/btf").mkdir(parents=True)
    shutil.copy(BTF / "6.1", root / "sys/kernel/btf/vmlinux")
    return root


def checks_of(root):
    return {check.name: check for check in host_checks.examine(root)}


def test_a_good_machine(tmp_path):
    checks = checks_of(tree(tmp_path))
    readable = ("privileges", "lockdown", "kprobes", "tracefs", "btf", "symbols")
    readable += ("ipv4", "ipv6", "modules", "prot_alloc")
    assert {name: checks[name].status for name in readable} == dict.fromkeys(readable, "ok")


def test_bpf_and_perfmon_are_enough(tmp_path):
    caps = f"{1 << 38 | 1 << 39:016x}"
    assert checks_of(tree(tmp_path, caps=caps))["privileges"].status == "ok"


def test_no_privileges_says_run_as_root(tmp_path):
    check = checks_of(tree(tmp_path, caps="0000000000000000"))["privileges"]
    assert check.status == "failed"
    assert "root" in check.fix


def test_only_confidentiality_blocks(tmp_path):
    assert checks_of(tree(tmp_path / "a", lockdown="none [integrity] confidentiality"))["lockdown"].status == "ok"
    assert checks_of(tree(tmp_path / "b", lockdown="none integrity [confidentiality]"))["lockdown"].status == "failed"


def test_no_tracefs_says_how_to_mount_it(tmp_path):
    check = checks_of(tree(tmp_path, tracefs=False))["tracefs"]
    assert check.status == "failed"
    assert "mount -t tracefs" in check.fix


def test_a_closed_tracefs_is_not_to_be_mounted_again(tmp_path, monkeypatch):
    root = tree(tmp_path)
    monkeypatch.setattr(host_checks.os, "access", lambda path, mode: "tracing" not in str(path))
    check = checks_of(root)["tracefs"]
    assert check.status == "failed"
    assert "as root" in check.fix


def test_kprobes_switched_off(tmp_path):
    root = tree(tmp_path)
    (root / "sys/kernel/debug/kprobes/enabled").write_text("0\n")
    assert checks_of(root)["kprobes"].status == "failed"


def test_no_btf_names_the_option(tmp_path):
    root = tree(tmp_path)
    (root / "sys/kernel/btf/vmlinux").unlink()
    assert "CONFIG_DEBUG_INFO_BTF" in checks_of(root)["btf"].fix


def test_a_missing_optional_function_is_a_warning(tmp_path):
    checks = checks_of(tree(tmp_path, functions=[name for name in FUNCTIONS if name != "__request_module"]))
    assert checks["modules"].status == "warning"
    assert "CONFIG_MODULES" in checks["modules"].finding


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


def test_next_is_one_command():
    good = host_checks.Check("machine", "ok", "")
    assert host_checks.next_command([good]).startswith("inetprobe trace -- ")
    assert host_checks.next_command([good, host_checks.Check("lockdown", "failed", "", "x")]).startswith(
        "inetprobe vm -- trace"
    )
    assert host_checks.next_command([host_checks.Check("privileges", "failed", "", "x")]) == "sudo inetprobe doctor"


def test_json_and_text_have_the_next_command():
    inetprobe = [sys.executable, "-m", "inetprobe", "doctor"]
    report = json.loads(subprocess.run([*inetprobe, "--format", "json"], capture_output=True, check=False).stdout)
    shown = subprocess.run(inetprobe, capture_output=True, text=True, check=False).stdout
    assert report["next"].startswith(("inetprobe ", "sudo inetprobe "))
    assert shown.endswith(f" Next: {report['next']}\n")
