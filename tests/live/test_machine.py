"""Properties of the VM that the live tests rely on."""

from pathlib import Path

from inetprobe.vm.emulator import SOUND


def test_the_kernel_panics_on_an_oops():
    # After an oops kprobes no longer work, and every later test would blame inetprobe.
    assert Path("/proc/sys/kernel/panic_on_oops").read_text() == "1\n"


def test_an_emulating_qemu_is_of_a_sound_version():
    if "QEMU TCG" not in Path("/proc/cpuinfo").read_text():
        return  # KVM: nothing is emulated
    machine = Path("/sys/class/dmi/id/product_version").read_text().strip()  # as in "pc-i440fx-10.0"
    major, minor = machine.rpartition("-")[2].split(".")
    assert (int(major), int(minor)) >= SOUND, machine
