import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.base.files import OutputFile, WholeFile, same_file, write_whole
from tests.support.strangers import give_away


def test_a_link_is_the_same_file_and_a_missing_one_is_not(tmp_path):
    file, link = tmp_path / "a", tmp_path / "b"
    assert not same_file(file, file)
    file.touch()
    link.symlink_to(file)
    (tmp_path / "c").touch()
    assert same_file(link, tmp_path / "c", file)
    assert not same_file(link, tmp_path / "c", tmp_path / "missing")


@pytest.mark.parametrize(("before", "after"), [(0o4755, 0o755), (0o2644, 0o644), (0o1600, 0o600), (0o640, 0o640)])
def test_a_file_that_becomes_ours_is_set_to_nobody_s_id(tmp_path, before, after):
    path = tmp_path / "a"
    path.touch()
    path.chmod(before)
    output = WholeFile("page", str(path))
    output.file.write(b"x")
    output.finish()
    assert stat.S_IMODE(path.stat().st_mode) == after


def whole(path, text):
    write_whole("page", str(path), text)


def recording(path, text):
    with OutputFile.create(path).file as file:
        file.write(text.encode())


either = pytest.mark.parametrize("write", [whole, recording])


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text("kept")
    return path


@either
@pytest.mark.parametrize("where", ["a sticky folder", "their folder", "a folder for all"])
def test_a_stranger_s_link_is_replaced(tmp_path, precious, monkeypatch, write, where):
    folder = tmp_path / "folder"
    folder.mkdir()
    link = folder / "out"
    link.symlink_to(precious)
    if where == "a folder for all":
        folder.chmod(0o777)
    else:
        give_away(link if where == "a sticky folder" else folder, monkeypatch)
        folder.chmod(0o1777)
    write(link, "new")
    assert precious.read_text() == "kept"
    assert not link.is_symlink()
    assert link.read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["out"]


@either
def test_a_link_of_one_s_own_is_followed(tmp_path, precious, write):
    link = tmp_path / "out"
    link.symlink_to(precious)
    write(link, "new")
    assert link.is_symlink()
    assert precious.read_text() == "new"


@either
def test_a_file_that_a_stranger_keeps_open_gets_nothing(tmp_path, write, monkeypatch):
    path = tmp_path / "out"
    path.write_text("theirs")
    path.chmod(0o666)
    with path.open() as kept:
        give_away(path, monkeypatch)
        write(path, "new")
        assert kept.read() == "theirs"
    assert path.read_text() == "new"
    assert path.stat().st_mode & stat.S_IWOTH == 0


@either
def test_stdout_and_descriptors_are_outputs(tmp_path, write):
    with (tmp_path / "out").open("w") as file:
        write(Path(f"/dev/fd/{file.fileno()}"), "new")
    assert (tmp_path / "out").read_text() == "new"
    reader, writer = os.pipe()
    write(Path(f"/proc/self/fd/{writer}"), "piped")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "piped"


@either
def test_a_named_pipe_is_an_output(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write(tmp_path / "pipe", "piped")
    reader.join(10)
    assert received == ["piped"]


@either
def test_a_file_in_a_folder_where_none_can_be_created_is_written(precious, write, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = precious.stat().st_ino
    write(precious, "new")
    assert precious.read_text() == "new"
    assert precious.stat().st_ino == before


def test_a_recording_can_be_read_while_it_grows(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with OutputFile.create(path).file as file:
        assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("out", "")]
        file.write(b"first")
        assert path.read_text() == "first"


def test_a_page_that_cannot_be_written_to_its_end_leaves_the_old_one(precious, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for write, noun in ((whole, "page"), (recording, "recording")):
        with pytest.raises(InetprobeError, match=f"^the {noun} .* cannot be written: No space left on device"):
            write(precious, "new")
    assert [(path.name, path.read_text()) for path in precious.parent.iterdir()] == [("precious", "kept")]
