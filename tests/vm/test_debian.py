import os

import pytest

from inetprobe.base.errors import VmError
from inetprobe.vm import debian
from tests.support.strangers import give_away

SOURCES = "deb http://mirror.example/debian {} main\n"
APT = """#!/bin/sh
echo "$@" >> {log}
for word in "$@"; do last=$word; done
case "$*" in
*" download "*) touch "$last.deb" ;;
esac
exit {status}
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" && echo new > "$3/usr/bin/tool"
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg; called with the exit status of apt-get."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()

    def make(status=0):
        for name, text in (("apt-get", APT.format(log=log, status=status)), ("dpkg", DPKG)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        return log

    source = debian.AptSource("http://mirror.example/debian", ("bookworm",), ("main",), None)
    monkeypatch.setattr(debian.apt_sources, "read", lambda: [source])
    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    monkeypatch.setattr(debian.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return make


def wanted(**more):
    def find(folder):
        tool = folder / "usr/bin/tool"
        return tool if tool.is_file() else None

    return debian.PackageSet("a tool", "bookworm-backports", lambda apt: ["tool"], find, **more)


def test_packages_are_fetched_once(tmp_path, stand_in):
    log = stand_in()
    notes = []
    target = tmp_path / "cache/tool"
    tool = debian.ensure(wanted(), target, notes.append)
    assert tool == target / "usr/bin/tool"
    assert "bookworm-backports" in notes[0]
    asked = log.read_text()
    assert "update" in asked
    assert "download tool" in asked
    assert debian.ensure(wanted(), target, pytest.fail) == tool
    assert log.read_text() == asked
    assert [path.name for path in target.parent.iterdir() if path.name != ".lock"] == ["tool"]


def test_an_old_folder_is_replaced(tmp_path, stand_in):
    stand_in()
    target = tmp_path / "cache/tool"
    (target / "usr/bin").mkdir(parents=True)
    (target / "usr/bin/old").touch()
    debian.ensure(wanted(), target, lambda line: None)
    assert not (target / "usr/bin/old").exists()


def test_finish_runs_before_the_folder_is_put_in_place(tmp_path, stand_in):
    stand_in()
    target = tmp_path / "cache/tool"
    seen = []
    debian.ensure(wanted(finish=lambda folder: seen.append((folder, target.exists()))), target, lambda line: None)
    ((folder, in_place),) = seen
    assert folder != target
    assert not in_place


@pytest.mark.parametrize("part", ["cache", "cache/tool", "cache/tool/usr/bin", "cache/tool/usr/bin/tool"])
@pytest.mark.parametrize("harm", ["owner", "mode"])
def test_a_file_that_a_stranger_can_have_planted_is_not_taken(tmp_path, monkeypatch, part, harm):
    tool = tmp_path / "cache/tool/usr/bin/tool"
    tool.parent.mkdir(parents=True)
    tool.touch()
    assert debian.ensure(wanted(), tmp_path / "cache/tool", pytest.fail) == tool
    if harm == "owner":
        give_away(tmp_path / part, monkeypatch)
    else:
        (tmp_path / part).chmod(0o777)
    with pytest.raises(
        VmError, match=r"^the cache \S+ is not used \(.*\): set INETPROBE_CACHE to a folder that is yours"
    ):
        debian.ensure(wanted(), tmp_path / "cache/tool", pytest.fail)


def test_nothing_is_fetched_into_a_stranger_s_folder(tmp_path, stand_in, monkeypatch):
    log = stand_in()
    (tmp_path / "cache").mkdir()
    give_away(tmp_path / "cache", monkeypatch)
    with pytest.raises(VmError, match="belongs to user"):
        debian.ensure(wanted(), tmp_path / "cache/deep/tool", pytest.fail)
    assert not log.exists()
    assert not list((tmp_path / "cache").iterdir())


def test_the_lock_is_no_link_to_a_file_that_is_lost(tmp_path, stand_in):
    stand_in()
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/.lock").symlink_to(precious)
    with pytest.raises(VmError, match=r"is not used \(Too many levels of symbolic links\)"):
        debian.ensure(wanted(), tmp_path / "cache/tool", lambda line: None)
    assert precious.read_text() == "kept"


def test_what_is_unpacked_is_nobody_else_s_whatever_the_umask(tmp_path, stand_in):
    stand_in()
    mask = os.umask(0o002)
    try:
        (tmp_path / "bin/dpkg").write_text(DPKG.replace("mkdir", "umask 022; mkdir"))
        debian.ensure(wanted(), tmp_path / "cache/tool", lambda line: None)
    finally:
        os.umask(mask)


def test_a_failure_shows_apt_s_last_lines_and_leaves_no_folder(tmp_path, stand_in):
    stand_in(status=100)
    with pytest.raises(VmError, match="apt-get failed while fetching packages: 100"):
        debian.ensure(wanted(), tmp_path / "cache/tool", lambda line: None)
    assert not (tmp_path / "cache/tool").exists()


def test_a_missing_tool_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(debian.shutil, "which", lambda *_, **__: None)
    with pytest.raises(VmError, match="fetched with apt-get, which is missing"):
        debian.run(["apt-get", "update"])
