"""The cache of compiled programs: only an intact file of this user's is used, and any other one is reported."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.program import code_cache
from inetprobe.kernel.program.code_cache import Code
from tests.support.paths import TESTS
from tests.support.strangers import give_away

LIBRARY = TESTS / "conftest.py"  # any file: it stands for the compiler
LIBRARIES = ((str(LIBRARY), LIBRARY.stat().st_size, LIBRARY.stat().st_mtime_ns),)
PROGRAMS = st.builds(Code, st.dictionaries(st.text(), st.binary(max_size=64), max_size=4), st.just(LIBRARIES))
PROGRAM = Code({"entry_sk_alloc": bytes(range(16))}, LIBRARIES)


@pytest.fixture
def said():
    return []


@pytest.fixture
def file(tmp_path, said):
    """The cached file of PROGRAM, by the name ``it``."""
    code_cache.put(tmp_path, "it", PROGRAM, said.append)
    assert not said
    return tmp_path / "it.json"


@given(PROGRAMS)
def test_a_program_that_was_put_can_be_got(tmp_path_factory, program):
    folder = tmp_path_factory.mktemp("cache") / "not" / "there yet"
    code_cache.put(folder, "it", program, pytest.fail)
    assert code_cache.get(folder, "it", pytest.fail) == program
    assert code_cache.get(folder, "another", pytest.fail) is None


def test_only_its_user_can_read_it(file):
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["it.json"]


def test_any_damage_is_reported(file, said):
    whole = file.read_bytes()
    for index in range(len(whole)):
        for damaged in (whole[:index], whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :]):
            file.write_bytes(damaged)
            assert code_cache.get(file.parent, "it", said.append) is None
            assert said.pop() == f"{file} is damaged: compiling again"
    assert not said


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_not_used(file, said, mode):
    file.chmod(mode)
    assert code_cache.get(file.parent, "it", said.append) is None
    assert "other users may write to it" in said[0]


def test_another_user_s_file_is_not_used(file, said, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert code_cache.get(file.parent, "it", said.append) is None
    assert "other users may write to it" in said[0]


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
def test_only_a_regular_file_is_used(file, said, instead):
    writer = instead(file)
    assert code_cache.get(file.parent, "it", said.append) is None
    assert str(file) in said[0]
    if writer is not None:
        os.close(writer)


def test_an_unusable_folder_is_reported(tmp_path, said):
    (tmp_path / "file").write_text("")
    code_cache.put(tmp_path / "file" / "bpf", "it", PROGRAM, said.append)
    assert said == [f"the compiled program is not cached in {tmp_path / 'file' / 'bpf'}: Not a directory"]


def test_nothing_is_left_in_the_home_of_another_user(tmp_path, said, monkeypatch):
    give_away(tmp_path, monkeypatch)
    code_cache.put(tmp_path / ".cache" / "bpf", "it", PROGRAM, said.append)
    (sentence,) = said
    assert sentence.startswith("the compiled program is not cached: ")
    assert "belongs to user" in sentence
    assert not list(tmp_path.iterdir())


def test_a_program_in_a_folder_that_others_may_write_to_is_not_used(file, said):
    """They could give it the name of another of our programs."""
    file.parent.chmod(0o777)
    assert code_cache.get(file.parent, "it", said.append) is None
    assert said == [f"{file} is not used: other users may write to {file.parent}: compiling again"]


def test_no_temporary_file_is_left_where_the_name_is_taken(tmp_path, said):
    (tmp_path / "it.json").mkdir()
    code_cache.put(tmp_path, "it", PROGRAM, said.append)
    assert "is not cached" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


def test_only_the_newest_files_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(code_cache, "MAX_FILES", 3)
    for number in range(5):
        code_cache.put(tmp_path, str(number), PROGRAM, pytest.fail)
        os.utime(tmp_path / f"{number}.json", (number, number))
    assert {path.stem for path in tmp_path.iterdir()} == {"2", "3", "4"}


def test_a_program_of_another_compiler_is_not_used(tmp_path, said):
    library = tmp_path / "libLLVM-14.so.1"
    library.write_text("the compiler")
    status = library.stat()
    program = Code({}, ((str(library), status.st_size, status.st_mtime_ns),))
    code_cache.put(tmp_path, "it", program, pytest.fail)
    assert code_cache.get(tmp_path, "it", pytest.fail) == program
    library.write_text("a newer compiler")
    assert code_cache.get(tmp_path, "it", pytest.fail) is None
    library.unlink()
    assert code_cache.get(tmp_path, "it", pytest.fail) is None


class TestKey:
    @pytest.fixture
    def source(self, tmp_path):
        (tmp_path / "include").mkdir()
        (tmp_path / "it.bpf.c").write_text("code")
        (tmp_path / "include" / "it.h").write_text("header")
        return tmp_path

    @pytest.fixture
    def before(self, source):
        return code_cache.key(source, ["-DA=1"])

    def test_it_depends_on_nothing_else(self, source, before, monkeypatch):
        monkeypatch.setenv("SOMETHING", "else")
        (source / "it.txt").write_text("no C")
        assert code_cache.key(source, ["-DA=1"]) == before

    def test_it_depends_on_headers(self, source, before):
        (source / "include" / "it.h").write_text("another")
        assert code_cache.key(source, ["-DA=1"]) != before

    def test_it_depends_on_file_names(self, source, before):
        (source / "include" / "it.h").rename(source / "include" / "other.h")
        assert code_cache.key(source, ["-DA=1"]) != before

    @pytest.mark.parametrize("defines", [["-DA=2"], ["-DA=1", "-DB=1"], []])
    def test_it_depends_on_the_defines(self, source, before, defines):
        assert code_cache.key(source, defines) != before
