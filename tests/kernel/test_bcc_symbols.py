"""The names of a real process's functions, by bcc itself, which needs no BPF for that."""

import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

from inetprobe.kernel import libbcc
from inetprobe.kernel.frames.bcc_symbols import SymbolCache
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols
from tests.support.paths import TESTS

SOURCE = TESTS / "live" / "stack_maker.c"
TICK = 10**9 // os.sysconf("SC_CLK_TCK")


class Sleeper:
    """The live tests' program, asleep."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "0", "60000"])
        self.pid = self.process.pid
        symbols = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
        while str(program) not in self.maps():
            pass
        base = next(int(line.partition("-")[0], 16) for line in self.maps().splitlines() if str(program) in line)
        defined = [line.split() for line in symbols.splitlines() if not line.startswith(" ")]
        self.at = {name: base + int(address, 16) for address, _, name in defined}
        self.base = base

    def maps(self):
        return Path(f"/proc/{self.pid}/maps").read_text()

    def identity(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return MappedProcess(self.pid, int(fields[19]) * TICK, int(fields[25]))


@pytest.fixture
def built(tmp_path):
    program = tmp_path / "stack_maker"
    subprocess.run(["gcc", "-O1", "-g", "-fno-omit-frame-pointer", "-o", program, SOURCE], check=True)
    return program


@pytest.fixture
def started():
    running = []

    def start(program):
        running.append(Sleeper(program))
        return running[-1]

    yield start
    for sleeper in running:
        sleeper.process.kill()
        sleeper.process.wait()


def test_functions_of_a_running_program(built, started):
    sleeper = started(built)
    symbols = UserSymbols(lambda pid: SymbolCache(libbcc.load(), pid))
    process, at = sleeper.identity(), sleeper.at
    side = symbols.named(process, [at["culprit"] + 4, at["main"] + 9, 0x1000], 0)
    assert side.frames == ("culprit+0x4 (stack_maker)", "main+0x9 (stack_maker)", "[unknown]")
    assert side.lost is None
    assert symbols.named(process._replace(start_stack=process.start_stack + 16), [at["main"]], 0).lost == "executed"
    sleeper.process.kill()
    sleeper.process.wait()
    assert symbols.named(process, [at["accomplice"] + 2], 0).frames == ("accomplice+0x2 (stack_maker)",)


def _resolve(pid, address, results):
    results.put(SymbolCache(libbcc.load(), pid).resolve(address, True))


def test_a_fifo_that_a_program_names_as_its_debug_file_is_not_opened(built, started):
    debug = built.with_suffix(".debug")
    subprocess.run(["objcopy", "--only-keep-debug", built, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", built], check=True)
    debug.unlink()
    os.mkfifo(debug)
    sleeper = started(built)
    results = multiprocessing.get_context("fork").Queue()
    process = multiprocessing.get_context("fork").Process(
        target=_resolve, args=(sleeper.pid, sleeper.base + 0x1180, results)
    )
    process.start()
    process.join(60)
    blocked = process.is_alive()
    process.kill()
    assert not blocked
    name, offset, file = results.get(timeout=10)
    assert (name, offset) == (None, 0x1180)
    assert file.endswith(b"/stack_maker")
