import pytest

from inetprobe.base.errors import VmError
from inetprobe.vm import debian, emulator
from tests.support.strangers import give_away


def qemu(folder, version):
    """A program that says its version as QEMU does."""
    program = folder / emulator.PROGRAM
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version} (Debian 1:{version}+dfsg)'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "cache"


@pytest.mark.parametrize(("output", "version"), [("7.2.22", (7, 2)), ("10.0.2", (10, 0)), ("8.2", (8, 2))])
def test_the_version_is_read_from_qemu_s_output(tmp_path, output, version):
    assert emulator.version(qemu(tmp_path, output)) == version


def test_a_program_that_does_not_run_has_no_version(tmp_path):
    assert emulator.version(tmp_path / "nothing") is None


@pytest.mark.parametrize("version", ["8.2.0", "10.0.2"])
def test_the_system_s_qemu_is_used_if_it_is_sound(tmp_path, cache, version):
    qemu(tmp_path / "bin", version)
    assert emulator.resolve(pytest.fail) is None


def test_an_unsound_qemu_is_replaced_by_the_cached_one(tmp_path, cache):
    qemu(tmp_path / "bin", "7.2.22")
    newer = qemu(cache / "qemu/usr/bin", "10.0.2")
    newest = emulator.resolve(pytest.fail)
    assert newest.program == newer
    assert [str(folder.relative_to(cache / "qemu")) for folder in newest.firmware] == [
        "usr/share/qemu",
        "usr/share/seabios",
    ]


def test_a_qemu_that_a_stranger_can_have_planted_is_not_run(tmp_path, cache, monkeypatch):
    qemu(tmp_path / "bin", "7.2.22")
    planted = qemu(cache / "qemu/usr/bin", "10.0.2")
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    give_away(cache, monkeypatch)
    notes = []
    assert emulator.resolve(notes.append) is None
    assert "under which a kernel may crash" in notes[0]
    assert "belongs to user" in notes[0]
    assert not (tmp_path / "ran").exists()


def test_an_unsound_qemu_without_a_newer_one_is_reported(tmp_path, cache, monkeypatch):
    def refuse(wanted, target, progress):
        assert wanted.suite.endswith("-backports")
        raise VmError("no network")

    qemu(tmp_path / "bin", "7.2.22")
    monkeypatch.setattr(debian, "ensure", refuse)
    notes = []
    assert emulator.resolve(notes.append) is None
    (line,) = notes
    assert "QEMU 7.2" in line
    assert "no network" in line
