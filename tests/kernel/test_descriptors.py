"""A library closes descriptors that are not its own: they are restored, and the library's own are not."""

import ctypes
import os
import select
from pathlib import Path

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel import libbcc
from inetprobe.kernel.frames.bcc_symbols import SymbolCache
from inetprobe.kernel.frames.descriptors import Descriptors
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def everything_open():
    return {fd for fd in range(1000) if is_open(fd)}


def close_all_of(fd):
    """Itself and every copy of it."""
    for other in everything_open() - {fd}:
        if os.path.sameopenfile(other, fd):
            os.close(other)
    os.close(fd)


@pytest.fixture(autouse=True)
def nothing_stays_open():
    before = everything_open()
    yield
    assert everything_open() == before


@pytest.fixture
def descriptors():
    return Descriptors()


@pytest.fixture
def file(tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    yield fd
    os.close(fd)


def test_a_closed_file_is_restored(descriptors, file):
    os.write(file, b"before ")
    with descriptors.kept():
        os.close(file)
    os.write(file, b"after")
    assert os.pread(file, 100, 0) == b"before after"
    assert not os.get_inheritable(file)


def test_an_epoll_still_watches_its_descriptors(descriptors):
    with select.epoll() as poll:
        event = os.eventfd(1)
        poll.register(event, select.EPOLLIN)
        with descriptors.kept():
            os.close(poll.fileno())
            os.close(event)
        assert poll.poll(5) == [(event, select.EPOLLIN)]
        os.close(event)


def test_a_file_whose_number_the_library_reuses_is_restored(descriptors, file, tmp_path):
    with descriptors.kept():
        os.close(file)
        other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
        assert other == file
    os.write(file, b"ours")
    assert (tmp_path / "file").read_bytes() == b"ours"
    assert not (tmp_path / "other").read_bytes()


def test_the_library_may_close_its_own_descriptors(descriptors, tmp_path):
    with descriptors.kept():
        its = os.open(tmp_path / "its", os.O_CREAT | os.O_RDWR)
    with descriptors.kept():
        pass
    with descriptors.kept():
        os.close(its)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(its)


def test_a_descriptor_opened_in_between_is_ours_even_with_a_number_of_the_library_s(descriptors, file, tmp_path):
    with descriptors.kept():
        its = os.open(tmp_path / "its", os.O_CREAT | os.O_RDWR)
    with descriptors.kept():
        os.close(its)
    ours = os.dup2(file, its)
    with descriptors.kept():
        os.close(ours)
    os.close(ours)


def test_a_copy_closed_by_the_library_does_no_harm(descriptors, file):
    before = everything_open()
    with descriptors.kept():
        for copy in everything_open() - before:
            os.close(copy)
    assert is_open(file)


def test_a_copy_whose_number_the_library_reuses_is_left_to_it(descriptors, file, tmp_path):
    before = everything_open()
    with descriptors.kept():
        copy = max(everything_open() - before)
        os.close(copy)
        its = os.open(tmp_path / "its", os.O_CREAT | os.O_RDWR)
        assert its == copy
    assert is_open(its)
    os.close(its)


def fails_having_closed(fd, descriptors):
    with descriptors.kept():
        os.close(fd)
        raise ValueError("its own")


def test_an_exception_of_the_library_is_passed_on(descriptors, file):
    with pytest.raises(ValueError, match="its own"):
        fails_having_closed(file, descriptors)
    assert is_open(file)


def test_a_descriptor_closed_with_its_copy_is_an_error(descriptors, tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    block = descriptors.kept()
    block.__enter__()
    close_all_of(fd)
    with pytest.raises(InetprobeError, match=f"bcc has closed the file descriptor {fd} of inetprobe's: run it once"):
        block.__exit__(None, None, None)


@pytest.mark.parametrize("when", ["open", "resolve", "free"])
def test_naming_frames_closes_none_of_our_descriptors(file, when):
    class Closes:
        def __init__(self, pid):
            self.at("open")

        def at(self, moment):
            if moment == when:
                os.close(file)

        def resolve(self, addr, demangle):
            self.at("resolve")
            return b"main", 0, b"/bin/a"

        def free(self):
            self.at("free")

    symbols = UserSymbols(Closes)
    assert symbols.named(this_process(), [4096], 0).frames == ("main+0x0 (a)",)
    symbols.close()
    assert is_open(file)


def this_process():
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return MappedProcess(os.getpid(), int(fields[19]) * 10**9 // os.sysconf("SC_CLK_TCK"), int(fields[25]))


def test_bcc_closes_the_files_that_it_opened():
    lib = libbcc.load()
    symbols = UserSymbols(lambda pid: SymbolCache(lib, pid))
    side = symbols.named(this_process(), [ctypes.cast(lib.bcc_prog_load, ctypes.c_void_p).value + 1], 0)
    assert side.frames[0].startswith("bcc_prog_load+0x1 (libbcc.so")
    symbols.close()  # the fixture sees what is open
