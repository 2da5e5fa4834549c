"""The process that reads other processes: what kills its workers costs one answer, and no memory of the tracer's."""

import ctypes
import mmap
import os
import resource
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel import libbcc, process_reader
from inetprobe.kernel.frames.bcc_symbols import SymbolCache
from inetprobe.kernel.frames.user_frames import MAX_FRAME, MappedProcess
from inetprobe.kernel.host import privileges
from inetprobe.kernel.process_reader import ProcessReader
from inetprobe.record.stacks import UNREADABLE, Side
from tests.support.paths import TESTS


def this_process():
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return MappedProcess(os.getpid(), int(fields[19]) * 10**9 // os.sysconf("SC_CLK_TCK"), int(fields[25]))


class Symbols:
    """Names each address after itself; an address below 16 makes ``at`` happen to the worker."""

    def __init__(self, pid, at=None):
        self.at = at

    def resolve(self, addr, demangle):
        if addr < 16:
            self.at()
        return b"f%d" % addr, 0, b"/bin/a"

    def free(self):
        pass


@pytest.fixture
def opened():
    readers = []

    def open_reader(at=None):
        readers.append(ProcessReader(lambda pid: Symbols(pid, at)))
        return readers[-1]

    yield open_reader
    for reader in readers:
        reader.close()


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def mapped():
    """A gigabyte and a half, as bcc would read a map."""
    return bytearray(3 << 29)


def close_low_descriptors():
    for fd in range(64):
        os.closerange(fd, fd + 1)


def test_frames_are_named_by_bcc_in_the_other_process():
    lib = libbcc.load()
    reader = ProcessReader(lambda pid: SymbolCache(lib, pid))
    side = reader.named(this_process(), [ctypes.cast(lib.bcc_prog_load, ctypes.c_void_p).value + 1], 0)
    assert side.frames[0].startswith("bcc_prog_load+0x1 (libbcc.so")
    reader.close()


def test_a_program_that_kills_libbcc_costs_one_answer(tmp_path):
    """The entries of its symbol table have no size: list_in_scn() of bcc's src/cc/bcc_elf.c divides by it."""
    program = tmp_path / "program"
    program.write_bytes((TESTS / "fuzz/corpus/symbols/no-entry-size").read_bytes()[1:])
    with program.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    lines = Path("/proc/self/maps").read_text().splitlines()
    start = next(int(line.partition("-")[0], 16) for line in lines if line.endswith(str(program)))
    lib = libbcc.load()
    reader = ProcessReader(lambda pid: SymbolCache(lib, pid))
    assert reader.named(this_process(), [start + 0x100], 0) == Side((), UNREADABLE)
    side = reader.named(this_process(), [ctypes.cast(lib.bcc_prog_load, ctypes.c_void_p).value + 1], 0)
    assert side.frames[0].startswith("bcc_prog_load+0x1 (libbcc.so")
    reader.close()
    mapped.close()


@pytest.mark.parametrize("at", [os.abort, mapped, lambda: os._exit(0), lambda: os.kill(os.getpid(), 9)])
def test_a_worker_that_dies_costs_one_answer(opened, at):
    reader = opened(at)
    assert reader.named(this_process(), [100], 0) == Side(("f100+0x0 (a)",))
    assert reader.named(this_process(), [1], 0) == Side((), UNREADABLE)
    assert reader.named(this_process(), [101], 0) == Side(("f101+0x0 (a)",))


def test_a_question_that_killed_a_full_worker_is_asked_again(opened, tmp_path):
    def die_once():
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.abort()

    reader = opened(die_once)
    assert reader.named(this_process(), [1], 0) == Side(("f1+0x0 (a)",))


def test_a_worker_that_hangs_is_given_up(opened, monkeypatch):
    monkeypatch.setattr(process_reader, "_LIMIT_S", 1)
    reader = opened(lambda: time.sleep(100))
    began = time.monotonic()
    assert reader.held_by(os.getpid())
    (hanging,) = [worker for kept in children(os.getpid()) for worker in children(kept)]
    assert reader.named(this_process(), [1], 0) == Side((), UNREADABLE)
    assert reader.named(this_process(), [101], 0) == Side(("f101+0x0 (a)",))
    assert not Path(f"/proc/{hanging}").exists(), "a worker that nobody asks any more hangs on"
    assert time.monotonic() - began < 10


def test_descriptors_that_the_library_closes_are_not_the_worker_s(opened):
    """bcc before 0.33 closes descriptors at random."""
    reader = opened(close_low_descriptors)
    assert reader.named(this_process(), [1], 0) == Side(("f1+0x0 (a)",))
    assert reader.held_by(os.getpid()).startswith(f"process {os.getpid()} now holds ")


@pytest.mark.parametrize("size", [1 << 20, 1 << 30, 1 << 40])
def test_a_jit_s_map_takes_no_memory(size):
    """B5: bcc read a sparse map of a gigabyte into the tracer, while no ring was drained."""
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    with path.open("wb") as file:
        file.truncate(size)
    lib = libbcc.load()
    reader = ProcessReader(lambda pid: SymbolCache(lib, pid))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        side = reader.named(this_process(), [ctypes.cast(lib.bcc_prog_load, ctypes.c_void_p).value + 1], 0)
    finally:
        path.unlink()
        reader.close()
    assert (side.lost == UNREADABLE) == (size > 1 << 26)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


@pytest.mark.parametrize(
    "answer",
    [
        None, "x", [], [["f"]], [["f"], None, None], ["f", None], [[1], None], [["f" * (MAX_FRAME + 1)], None],
        [["f"], "\x1b[2J"], [["f"], 1], [["f"] * 1000, None],
    ],
    ids=str,
)  # fmt: skip
def test_a_worker_that_a_stranger_s_file_has_taken_over_says_nothing_else(answer):
    assert not process_reader._is_side(answer)


@pytest.mark.parametrize("answer", [b"[" * 100_000, b"{", b"\xff", b"x" * (2 << 20)], ids=len)
def test_an_answer_that_is_no_json_is_none(monkeypatch, answer):
    def lies(asked, open_symbols):
        tracer = Connection(os.dup(asked.fileno()))
        while True:
            tracer.recv_bytes()
            tracer.send_bytes(answer)

    monkeypatch.setattr(process_reader, "_work", lies)
    reader = ProcessReader(Symbols)
    assert reader.named(this_process(), [100], 0) == Side((), UNREADABLE)
    assert reader.held_by(1) == "the descriptors of process 1 could not be counted in time"
    reader.close()


def test_it_keeps_two_capabilities_and_no_descriptor(tmp_path):
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(secret, True)
    before = children(os.getpid())
    reader = ProcessReader(Symbols)
    assert reader.held_by(os.getpid())
    (kept,) = set(children(os.getpid())) - set(before)
    (worker,) = children(kept)
    own = privileges.effective()
    for pid in (kept, worker):
        assert privileges.effective(Path(f"/proc/{pid}/status")) == own & privileges.PROCESSES
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert {link for link in links if not link.startswith("socket:")} == {"/dev/null"}
        assert len(links) == 4
    reader.close()
    os.close(secret)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{worker}").exists()
    assert os.waitpid(kept, 0) == (kept, 0)


def test_where_it_cannot_give_up_its_rights_it_is_said(monkeypatch):
    def refuse(kept):
        raise InetprobeError("the kernel refuses")

    monkeypatch.setattr(process_reader, "confine", refuse)
    with pytest.raises(InetprobeError, match=r"^no process can be started that reads others: the kernel refuses$"):
        ProcessReader(Symbols)


def test_it_ends_with_a_tracer_that_is_killed():
    pid = os.fork()
    if not pid:
        reader = ProcessReader(Symbols)  # which is closed where nobody holds it
        reader.held_by(1)
        time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 10
    while not (both := [worker for kept in children(pid) for worker in (kept, *children(kept))])[1:]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while any(Path(f"/proc/{other}/exe").exists() for other in both):
        assert time.monotonic() < deadline
        time.sleep(0.01)
