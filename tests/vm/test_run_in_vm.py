from pathlib import Path
from types import SimpleNamespace

import pytest

from inetprobe.base import packages
from inetprobe.base.errors import VmError
from inetprobe.vm import accel, emulator, kernels, qemu
from inetprobe.vm import run_in_vm as host
from inetprobe.vm.guest import protocol
from inetprobe.vm.run_in_vm import kernel_label
from inetprobe.vm.session import BootError
from tests.support import run_command

PORTS = {name: number for number, name in enumerate((*protocol.PORTS, qemu.MONITOR), start=10)}


def test_software_emulation_disables_kvm():
    argv = qemu.build(qemu.VirtualMachine(Path("/k/vmlinuz"), cpus=3), Path("/folder"), PORTS)
    assert "--disable-kvm" in argv
    assert argv[argv.index("--cpus") + 1] == "3"
    assert argv[argv.index("--kimg") + 1] == "/k/vmlinuz"
    assert "mitigations=off" in argv
    assert "tsc=reliable" in argv


def test_kvm_has_no_silent_fallback():
    argv = qemu.build(qemu.VirtualMachine(Path("/k/vmlinuz"), kvm=True), Path("/folder"), PORTS)
    assert "--disable-kvm" not in argv
    assert "accel=kvm" in argv
    assert "mitigations=off" not in argv
    assert "tsc=reliable" not in argv


def test_further_qemu_options_turn_off_the_shortcuts_of_emulation():
    machine = qemu.VirtualMachine(Path("/k/vmlinuz"), qemu=("-icount", "shift=0"))
    argv = qemu.build(machine, Path("/folder"), PORTS)
    assert argv[argv.index("-icount") + 1] == "shift=0"
    assert "mitigations=off" not in argv
    assert "tsc=reliable" not in argv


def test_the_host_s_root_is_shown_read_only():
    options = qemu.qemu_options(qemu.VirtualMachine(Path("/k")), Path("/folder"), PORTS)
    (root,) = [option for option in options if "path=/," in option]
    assert root.endswith("readonly=on")


def test_qemu_adds_no_default_devices():
    assert "-nodefaults" in qemu.qemu_options(qemu.VirtualMachine(Path("/k")), Path("/folder"), PORTS)


def test_a_newer_qemu_comes_with_its_firmware():
    own = emulator.Emulator(Path("/q/qemu"), (Path("/q/share"),))
    argv = qemu.build(qemu.VirtualMachine(Path("/k/vmlinuz"), emulator=own), Path("/folder"), PORTS)
    assert argv[argv.index("--qemu-bin") + 1] == "/q/qemu"
    assert argv[argv.index("-L") + 1] == "/q/share"
    assert "--qemu-bin" not in qemu.build(qemu.VirtualMachine(Path("/k/vmlinuz")), Path("/folder"), PORTS)


def test_a_comma_in_a_folder_s_name_is_quoted():
    options = qemu.qemu_options(qemu.VirtualMachine(Path("/k")), Path("/a,b"), PORTS)
    assert any("path=/a,,b," in option for option in options)


def test_only_listed_variables_reach_the_guest():
    host = {"NO_COLOR": "1", "INETPROBE_X": "y", "SECRET": "s", "LANG": "de_DE.UTF-8"}
    guest = qemu.guest_environment(host)
    assert (guest["NO_COLOR"], guest["INETPROBE_X"], guest["LANG"]) == ("1", "y", "de_DE.UTF-8")
    assert "SECRET" not in guest


@pytest.mark.parametrize(
    ("known", "obstacle", "kvm"),
    [
        (True, None, [True]),
        (False, None, [False] * 3),
        (None, None, [True, *[False] * 3]),
        (None, "no /dev/kvm", [False] * 3),
    ],
)
def test_kvm_is_tried_once_and_remembered(known, obstacle, kvm):
    attempts = accel.plan("auto", known, obstacle, 120.0)
    assert [attempt.kvm for attempt in attempts] == kvm
    assert all(attempt.why for attempt in attempts)


def test_missing_tools_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr(qemu, "find_virtme_run", lambda: Path("/bin/virtme-run"))
    monkeypatch.setattr(qemu.shutil, "which", lambda tool, path: "/bin/busybox" if tool == "busybox" else None)
    command = packages.install("qemu-system-x86_64", "depmod")
    with pytest.raises(VmError) as caught:
        qemu.check_tools()
    assert str(caught.value) == f"the VM needs qemu-system-x86_64, depmod: {command}"


def test_what_the_vm_lacks_is_said_before_a_kernel_is_fetched(monkeypatch):
    monkeypatch.setattr(qemu.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(qemu.shutil, "which", lambda tool: None)
    monkeypatch.setattr(kernels, "resolve", lambda kernel, say: pytest.fail("a kernel was fetched"))
    done = run_command.run("vm", "--", "doctor")
    assert done.returncode == 125
    assert done.stderr == (
        "inetprobe: virtme-ng is not installed: pip install 'inetprobe[vm]' (in a checkout: make setup)\n"
    )


@pytest.fixture
def boots(monkeypatch, tmp_path):
    """Boots a VM whose sessions end with what is given, in order: an exit status or an error."""
    monkeypatch.setattr(qemu, "check_tools", lambda: None)
    monkeypatch.setattr(emulator, "resolve", lambda progress: None)
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vmlinuz").write_text("")

    def run(*ends, accelerator="tcg", release="6.1"):
        left = list(ends)

        def session(*_, **limits):
            def go():
                end = left.pop(0)
                if isinstance(end, Exception):
                    raise end
                limits["on_booted"](release)
                return end

            return SimpleNamespace(run=go)

        monkeypatch.setattr(host, "Session", session)
        status = host.run_in_vm(["true"], bytes, kernel=tmp_path / "vmlinuz", accel=accelerator)
        assert not left
        return status

    return run


def test_an_emulated_boot_that_fails_is_retried_with_a_note(boots, capfd):
    assert boots(BootError("it slept"), 7) == 7
    first, second, up = capfd.readouterr().err.splitlines()
    assert "with software emulation (as asked)" in first
    assert "with software emulation (the last boot failed, as an emulated one may: once more)" in second
    assert "Linux 6.1 is up" in up


def test_a_release_that_the_guest_made_up_is_harmless_on_a_terminal(boots, capfd):
    assert boots(0, release="6.1\x1b[2J\n\u202e") == 0
    assert "Linux 6.1\\x1b[2J\\x0a\\u202e is up" in capfd.readouterr().err


def test_a_boot_that_fails_three_times_fails(boots):
    with pytest.raises(BootError, match="for good"):
        boots(BootError("it slept"), BootError("and again"), BootError("for good"))


def test_only_the_last_emulated_boot_is_waited_for_long():
    assert [attempt.boot_timeout_s for attempt in accel.plan("tcg", None, None, 180.0)] == [60.0, 60.0, 180.0]


def test_a_vm_that_dies_later_is_not_booted_again(boots):
    with pytest.raises(VmError, match="it died under the command"):
        boots(VmError("it died under the command"))


def test_a_failed_boot_on_kvm_is_not_retried(boots):
    with pytest.raises(BootError, match="it slept"):
        boots(BootError("it slept"), accelerator="kvm")


def test_an_image_in_a_path_with_a_space_is_refused():
    with pytest.raises(VmError, match="move it elsewhere"):
        qemu.build(qemu.VirtualMachine(Path("/my kernels/vmlinuz")), Path("/folder"), PORTS)


def test_a_kernel_s_label_has_its_release():
    assert kernel_label(Path("/boot/vmlinuz-6.1.0")) == "vmlinuz-6.1.0"
    assert kernel_label(Path("/usr/lib/modules/7.2.13/vmlinuz")) == "7.2.13/vmlinuz"
