"""A live run whose probes are in place tries what it has given up, and goes on tracing.

``tests/kernel/test_confinement.py`` has the same without probes.
"""

import json
import sys

import pytest

from inetprobe.cli import live
from inetprobe.commands.serve import live_counts
from inetprobe.kernel.host import landlock, system_call_filter
from tests.live.conftest import KERNEL, accounted, inetprobe
from tests.support.tries import confining_and_trying

#: Possible where the kernel has no Landlock; else by no run.
FILES = {"read /etc/shadow", "write /etc/shadow", "make a file", "rename a file", "remove a file", "link a file"}
#: Possible to every run.
STAYS = {"a UNIX socket", "signal itself"}
#: A socket that succeeds, and one that fails.
SOCKETS = [sys.executable, "-c", "import ctypes; s = ctypes.CDLL(None).socket; s(2, 1, 0); s(2, 1, 200)"]


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Runs inetprobe ARGV: the result, and the errno of each attempt, None where it succeeded."""
    (tmp_path / "removed").touch()
    for module in (live, live_counts):
        monkeypatch.setattr(module, "confine", confining_and_trying(tmp_path / "tried"))

    def run(*argv):
        done = inetprobe(*argv)
        assert done.status == 0, done.err
        return done, json.loads((tmp_path / "tried").read_text())

    return run


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
def test_a_confined_run_traces(tried, argv):
    done, answers = tried(*argv, "--", *SOCKETS)
    assert [trace["errno"] for trace in done.traces] == [None, "EPROTONOSUPPORT"]
    assert accounted(done.summary)
    assert "stays in tracefs" not in done.err
    assert possible(answers) == STAYS | (FILES if KERNEL < (5, 13) else set())


def test_a_confined_serve_counts(tried):
    done, answers = tried("serve", "--once")
    assert "inetprobe_up 1.0" in done.out
    assert possible(answers) == STAYS | (FILES if KERNEL < (5, 13) else set())


def test_a_serve_that_attaches_again_keeps_what_that_takes(tried):
    _, answers = tried("serve", "--once", "--max-rate", "1000", "--mechanism", "kprobe")
    assert possible(answers) == {"open a perf event"} | STAYS | (FILES if KERNEL < (5, 13) else set())


def test_this_kernel_and_this_machine_have_what_is_tried():
    assert bool(landlock.version().number) == (KERNEL >= (5, 13))
    assert system_call_filter.library() is not None
