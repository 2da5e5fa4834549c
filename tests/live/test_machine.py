"""What the live tests rely on of the VM they run in."""

from pathlib import Path

from inetprobe.vm.emulator import SOUND


def test_a_kernel_that_stumbles_ends_the_live_tests():
    # A kprobe is dead after an oops, and every later test would blame inetprobe.
    assert Path("/proc/sys/kernel/panic_on_oops").read_text() == "1\n"


def test_what_emulates_is_sound():
    if "QEMU TCG" not in Path("/proc/cpuinfo").read_text():
        return  # KVM: nothing is translated
    said = Path("/sys/class/dmi/id/product_version").read_text().strip()  # as in "pc-i440fx-10.0"
    major, minor = said.rpartition("-")[2].split(".")
    assert (int(major), int(minor)) >= SOUND, said
