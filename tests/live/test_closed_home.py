"""inetprobe from a checkout in a home that only its owner, another user, may enter; and inetprobe without root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import command
from tests.support.paths import ROOT

NOBODY = 65534
SOCKET = [sys.executable, "-c", "import socket; socket.socket()"]


@pytest.fixture(name="home", scope="module")
def _home(tmp_path_factory):
    """The checkout, .venv included, below a folder that only the user nobody may enter."""
    home = tmp_path_factory.mktemp("home")
    checkout = home / "checkout"
    checkout.mkdir()
    subprocess.run(["mount", "--rbind", ROOT, checkout], check=True)
    os.chown(home, NOBODY, NOBODY)
    home.chmod(0o700)
    yield checkout
    subprocess.run(["umount", "--recursive", checkout], check=True)


def run(home, *argv):
    python = home / Path(sys.executable).relative_to(ROOT)
    return subprocess.run(
        [python, "-P", "-m", "inetprobe", *argv],
        env={**os.environ, "PYTHONPATH": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("argv", [("trace", "-o", "{out}", "--"), ("top", "--once", "--")], ids=" ".join)
def test_root_traces_from_a_closed_home(home, tmp_path, argv):
    """``tests/cli/test_live.py`` checks that no live command imports anything after privileges are dropped."""
    done = run(home, *(word.format(out=tmp_path / "out.arrows") for word in argv), *SOCKET)
    assert done.returncode == 0, done.stderr
    assert "1 call, " in done.stderr


def test_without_root_trace_prints_one_sentence():
    """``tests/cli/test_exit_statuses.py`` has every live command, on a machine whose kernel cannot be traced."""
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", "--clear-groups", *command("trace")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("inetprobe: tracing needs root (or CAP_BPF and CAP_PERFMON")
    assert len(done.stderr.splitlines()) == 1
