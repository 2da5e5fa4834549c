"""A live run whose probes are in place tries what it has given up, and goes on tracing.

``tests/kernel/test_confinement.py`` has the same without probes.
"""

import json
import subprocess
import sys

import pytest

from inetprobe.kernel.host import landlock, system_call_filter
from tests.live.conftest import KERNEL

#: Possible where the kernel has no Landlock; else by no run.
FILES = {"read /etc/shadow", "write /etc/shadow", "make a file", "rename a file", "remove a file", "link a file"}
#: Possible to every run.
STAYS = {"a UNIX socket", "signal itself"}
#: A socket that succeeds, and one that fails.
SOCKETS = [sys.executable, "-c", "import ctypes; s = ctypes.CDLL(None).socket; s(2, 1, 0); s(2, 1, 200)"]


def tried(tmp_path, *argv):
    """inetprobe ARGV, and the errno of each attempt, None where it succeeded."""
    (tmp_path / "removed").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.tries", tmp_path / "tried", *argv],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, json.loads((tmp_path / "tried").read_text())


def possible(answers):
    """The attempts that nobody refused; a perf event of no type ends in ENOENT."""
    return {name for name, error in answers.items() if error not in ("EPERM", "EACCES", "EXDEV")}


@pytest.mark.parametrize(
    "argv",
    [
        ["trace", "--mechanism", "kprobe", "--format", "json"],
        ["trace", "--mechanism", "fentry", "--format", "json"],
        ["trace", "--stack", "user,kernel", "--format", "json"],
    ],
    ids=" ".join,
)
def test_a_confined_run_traces(tmp_path, argv):
    done, answers = tried(tmp_path, *argv, "--", *SOCKETS)
    traces = [json.loads(line) for line in done.stdout.splitlines()]
    assert [trace["errno"] for trace in traces if trace["kind"] == "trace"] == [None, "EPROTONOSUPPORT"]
    assert traces[-1]["kind"] == "summary"
    assert "stays in tracefs" not in done.stderr
    assert possible(answers) == STAYS | (FILES if KERNEL < (5, 13) else set())


def test_a_confined_serve_counts(tmp_path):
    done, answers = tried(tmp_path, "serve", "--once")
    assert "inetprobe_up 1.0" in done.stdout
    assert possible(answers) == STAYS | (FILES if KERNEL < (5, 13) else set())


def test_a_serve_that_attaches_again_keeps_what_that_takes(tmp_path):
    _, answers = tried(tmp_path, "serve", "--once", "--max-rate", "1000", "--mechanism", "kprobe")
    assert possible(answers) == {"open a perf event"} | STAYS | (FILES if KERNEL < (5, 13) else set())


def test_this_kernel_and_this_machine_have_what_is_tried():
    assert bool(landlock.version().number) == (KERNEL >= (5, 13))
    assert system_call_filter.library() is not None
