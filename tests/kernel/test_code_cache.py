"""Compiled programs in files: what was put is found, whatever else is there is not, and is told."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.program import code_cache
from inetprobe.kernel.program.code import Compiled
from inetprobe.kernel.program.compiler import import_bcc

U32 = st.integers(0, (1 << 32) - 1)
PROGRAMS = st.builds(
    Compiled,
    st.lists(st.builds(MapShape, st.text(), *[U32] * 5), max_size=4).map(tuple),
    st.dictionaries(st.text(), st.binary(max_size=64), max_size=4),
)
PROGRAM = Compiled((MapShape("records", 27, 0, 0, 1 << 23, 0),), {"entry_sk_alloc": bytes(range(16))})


@pytest.fixture
def told():
    return []


@pytest.fixture
def file(tmp_path, told):
    """A program that was kept, by the name ``it``."""
    code_cache.put(tmp_path, "it", PROGRAM, told.append)
    assert not told
    return tmp_path / "it.json"


@given(PROGRAMS)
def test_what_was_put_is_found(tmp_path_factory, program):
    folder = tmp_path_factory.mktemp("kept") / "not" / "there yet"
    code_cache.put(folder, "it", program, pytest.fail)
    assert code_cache.get(folder, "it", pytest.fail) == program
    assert code_cache.get(folder, "another", pytest.fail) is None


def test_it_is_its_user_s_alone(file):
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["it.json"]


def test_any_damage_is_told(file, told):
    whole = file.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            assert code_cache.get(file.parent, "it", told.append) is None
            assert told.pop() == f"{file} is damaged: compiling anew"
    assert not told


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_not_used(file, told, mode):
    file.chmod(mode)
    assert code_cache.get(file.parent, "it", told.append) is None
    assert "others than its user may write it" in told[0]


def test_another_s_file_is_not_used(file, told, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert code_cache.get(file.parent, "it", told.append) is None
    assert "others than its user may write it" in told[0]


def a_link(path):
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR)  # someone may write to it, at any time


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("instead", [a_link, a_pipe, a_folder])
def test_what_is_no_file_is_not_used(file, told, instead):
    writer = instead(file)
    assert code_cache.get(file.parent, "it", told.append) is None
    assert str(file) in told[0]
    if writer is not None:
        os.close(writer)


def test_a_full_or_forbidden_place_keeps_nothing_and_says_so(tmp_path, told):
    (tmp_path / "file").write_text("")
    code_cache.put(tmp_path / "file" / "bpf", "it", PROGRAM, told.append)
    assert told == [f"the compiled program is not kept in {tmp_path / 'file' / 'bpf'}: Not a directory"]


def test_root_leaves_nothing_in_a_user_s_home(tmp_path, told, monkeypatch):
    home = os.stat_result((0o40700, 0, 0, 2, 1000, 1000, 0, 0, 0, 0))
    real = Path.stat
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda path, **how: home if path == tmp_path else real(path, **how))
    code_cache.put(tmp_path / ".cache" / "bpf", "it", PROGRAM, told.append)
    assert told == [f"the compiled program is not kept: {tmp_path} is not root's"]
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_leaves_no_half_file(tmp_path, told):
    (tmp_path / "it.json").mkdir()
    code_cache.put(tmp_path, "it", PROGRAM, told.append)
    assert "is not kept" in told[0]
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


def test_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(code_cache, "MOST", 3)
    for number in range(5):
        code_cache.put(tmp_path, str(number), PROGRAM, pytest.fail)
        os.utime(tmp_path / f"{number}.json", (number, number))
    assert {path.stem for path in tmp_path.iterdir()} == {"2", "3", "4"}


class TestKey:
    @pytest.fixture
    def source(self, tmp_path):
        (tmp_path / "include").mkdir()
        (tmp_path / "it.bpf.c").write_text("code")
        (tmp_path / "include" / "it.h").write_text("header")
        return tmp_path

    @pytest.fixture
    def maps(self, tmp_path):
        """A process that has a compiler in it, and a library that is none."""
        for name in ("libbcc.so.0", "libLLVM-14.so.1", "libother.so"):
            (tmp_path / name).write_text("library")
        lines = [f"7f00-7f01 r-xp 00000000 fe:00 1    {path}\n" for path in sorted(tmp_path.glob("*.so*"))]
        path = tmp_path / "maps"
        path.write_text("".join(lines) + "7f02-7f03 rw-p 00000000 00:00 0 \n")
        return path

    @pytest.fixture
    def before(self, source, maps):
        return code_cache.key(source, ["-DA=1"], maps)

    def test_the_same_is_the_same(self, source, maps, before, monkeypatch):
        monkeypatch.setenv("SOMETHING", "else")
        (source / "libother.so").write_text("another library")
        assert code_cache.key(source, ["-DA=1"], maps) == before

    def test_a_header(self, source, maps, before):
        (source / "include" / "it.h").write_text("another")
        assert code_cache.key(source, ["-DA=1"], maps) != before

    def test_a_header_s_name(self, source, maps, before):
        (source / "include" / "it.h").rename(source / "include" / "other.h")
        assert code_cache.key(source, ["-DA=1"], maps) != before

    @pytest.mark.parametrize("flags", [["-DA=2"], ["-DA=1", "-DB=1"], []])
    def test_a_flag(self, source, maps, before, flags):
        assert code_cache.key(source, flags, maps) != before

    @pytest.mark.parametrize("library", ["libbcc.so.0", "libLLVM-14.so.1"])
    def test_another_compiler(self, source, maps, before, library):
        (source / library).write_text("a longer library")
        assert code_cache.key(source, ["-DA=1"], maps) != before

    def test_what_bcc_heeds(self, source, maps, before, monkeypatch):
        monkeypatch.setenv("BCC_LINUX_VERSION_CODE", "1")
        assert code_cache.key(source, ["-DA=1"], maps) != before

    def test_another_kernel(self, source, maps, before, monkeypatch):
        now = os.uname()
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((*now[:3], "#2 another build", now[4])))
        assert code_cache.key(source, ["-DA=1"], maps) != before

    def test_the_real_maps_name_the_compiler_once_it_is_there(self):
        import_bcc()
        lines = Path("/proc/self/maps").read_text().splitlines()
        assert any(code_cache._COMPILER.search(line) for line in lines)
