"""Progress on a real terminal: after a second, on stderr, and erased at the end."""

import os
import pty
import re
import subprocess
import sys

import pytest

from inetprobe.record.arrow.reader import RecordingReader
from tests.support import recorded
from tests.support.paths import ROOT

# With a shorter delay than the second of inetprobe itself.
PROGRAM = """
import sys, time
from pathlib import Path
from inetprobe.cli import progress
progress.PATIENCE_S = float(sys.argv[1])
with progress.progress("reading [b]x[/b]", total={total}, quiet={quiet}, printing={printing}) as advance:
    for _ in range(10):
        advance(1 << 20)
        time.sleep(0.06)
    print("said meanwhile", file=sys.stderr)
print("the end", file=sys.stderr)
import threading
assert threading.active_count() == 1, threading.enumerate()
"""


def on_terminal(patience, *, total="10 << 20", quiet=False, printing=False, stdout_too=False):
    """The output of the program on a terminal as its stderr, and on stdout."""
    near, far = pty.openpty()
    program = PROGRAM.format(total=total, quiet=quiet, printing=printing)
    made = subprocess.Popen(
        [sys.executable, "-c", program, str(patience)],
        stdout=far if stdout_too else subprocess.PIPE,
        stderr=far,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        cwd=ROOT,
    )
    os.close(far)
    drawn = bytearray()
    while True:
        try:
            drawn += os.read(near, 4096)
        except OSError:  # how a terminal says that its other end is closed
            break
    out = made.stdout.read() if made.stdout else b""
    os.close(near)
    assert made.wait() == 0, drawn
    return drawn.decode(), out


def test_a_bar_of_bytes_is_erased_at_the_end():
    drawn, out = on_terminal(0.05)
    assert "reading [b]x[/b]" in drawn
    assert "/10.0 MiB" in drawn
    assert "said meanwhile" in drawn
    assert out == b""
    assert "\x1b[?25l" not in drawn  # the cursor stays: a signal may end us at any time
    assert drawn.rpartition("\x1b[2K")[2].strip() == "the end"


def test_a_spinner_for_work_of_unknown_length():
    assert re.search(r"reading \[b\]x\[/b\] \x1b\[33m0:00:0\d", on_terminal(0.05, total="None")[0])


def test_nothing_for_less_than_a_second():
    assert on_terminal(30)[0].splitlines() == ["said meanwhile", "the end"]


@pytest.mark.parametrize("why", [{"quiet": True}, {"printing": True, "stdout_too": True}])
def test_no_progress_if_quiet_or_printing(why):
    assert on_terminal(0.05, **why)[0].splitlines() == ["said meanwhile", "the end"]


def test_a_reader_reports_the_bytes_it_has_read(tmp_path):
    path = recorded.fine(tmp_path / "r.arrows", 9000)
    told = []
    list(RecordingReader(path, told.append).batches())
    assert len(told) >= 2
    assert sum(told) == pytest.approx(path.stat().st_size, abs=64)  # the end mark need not be read
