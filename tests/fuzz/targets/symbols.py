"""``--stack user``: a program's mapped file and a JIT's /tmp/perf-PID.map, which libbcc and libelf parse.

Each input is parsed in a process of its own, whose end tells. What is covered there the fuzzer does not see.
"""

import contextlib
import mmap
import os
import resource
import signal
import tempfile
import traceback
from pathlib import Path

from inetprobe.kernel import libbcc
from inetprobe.kernel.frames.bcc_symbols import SymbolCache
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols
from inetprobe.kernel.host import clock
from tests.fuzz import checks
from tests.support.paths import TESTS

DICTIONARY = ("M", "E", "\x7fELF", "10000 100 a\n", "0x", "ffffffffffffffff", "7fffffffffffffff ", "\n", " ", "-")

_SECONDS, _MEGABYTES = 5, 1024
# libbcc divides by sh_entsize of a symbol table (list_in_scn() of its src/cc/bcc_elf.c; tried with bcc 0.26): any
# program's file can have 0 there, and ends the worker of kernel/process_reader.py that names its frames.
_KNOWN = (-signal.SIGFPE,)
_FATAL = (signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
# Of the bytes that say where and how long something is.
_EDGES = (0, 1, 2, 3, 7, 8, 64, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
_BASES = [path.read_bytes() for path in sorted((TESTS / "fuzz/corpus/symbols").iterdir())]
_lib = libbcc.load()
# A file that is mapped to be run cannot be where /dev/shm usually is.
_FOLDER = tempfile.TemporaryDirectory(prefix="inetprobe-fuzz-")


def mutate(data, rng):
    """A seed with some numbers changed: ``data`` is none that reached more, since the fuzzer cannot see that."""
    mutant = bytearray(rng.choice(_BASES))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        size = rng.choice((1, 2, 4, 8))
        place = 1 + rng.randrange((len(mutant) - 1) // size) * size
        number = rng.choice((*_EDGES, rng.randrange(1 << 16))) % (1 << 8 * size)
        mutant[place : place + size] = number.to_bytes(size, "little")
    return bytes(mutant)


def run(data):
    """``E`` begins an ELF file, anything else a map."""
    child = os.fork()
    if not child:
        _in_child(data)
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(FileNotFoundError):
        Path(f"/tmp/perf-{child}.map").unlink()
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, *_KNOWN), f"it ended with {ended}"
    assert usage.ru_maxrss < _MEGABYTES << 10, f"it took {usage.ru_maxrss >> 10} MB"


def _in_child(data):
    status = 1
    try:
        for number in _FATAL:
            signal.signal(number, signal.SIG_DFL)  # the fuzzer has handlers
        signal.alarm(_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _name(data)
        status = 0
    except BaseException:  # noqa: BLE001 # the parent's fuzzer must not see this process go on
        traceback.print_exc()
    finally:
        os._exit(status)


def _name(data):
    path = Path(_FOLDER.name) / "program"
    path.write_bytes(data[1:] if data[:1] == b"E" and len(data) > 1 else b"no program")
    if data[:1] != b"E":
        Path(f"/tmp/perf-{os.getpid()}.map").write_bytes(data[1:])
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    lines = Path("/proc/self/maps").read_text().splitlines()
    start = next(int(line.partition("-")[0], 16) for line in lines if line.endswith(str(path)))
    users = UserSymbols(lambda pid: SymbolCache(_lib, pid))
    # All but the innermost are return addresses, after a call.
    returns = [address + 1 for address in (*range(start, start + 0x1000, 0x80), 0x10000, 0x10080, 1 << 63)]
    side = users.named(_this_process(), [start, *returns], 0)
    assert side.lost is None, side
    for frame in side.frames:
        checks.can_be_shown(frame)
        assert len(frame) < 1000, frame
    mapped.close()


def _this_process():
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start_ns = int(fields[19]) * _TICK_NS - clock.namespace_offset_ns()
    return MappedProcess(os.getpid(), start_ns, int(fields[25]))
