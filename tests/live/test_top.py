"""``inetprobe top`` on this kernel, as a user sees it on a terminal and in a pipe."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.live.conftest import Forked, command, inetprobe
from tests.live.known import INET6, REQUESTS, make_known
from tests.support.pty_screen import Terminal

KNOWN = [sys.executable, Path(__file__).with_name("known.py")]
NAMED = "open('/proc/self/comm', 'w').write('known23')"
START_S = 240  # the compiler, on an emulated CPU


@contextlib.contextmanager
def top(*options, program="-m inetprobe"):
    # A shell around it, since a terminal's modes are gone with its last process.
    words = " ".join(shlex.quote(str(option)) for option in options)
    line = f"{sys.executable} {program} top {words}; echo left $?; read x"
    shown = Terminal(["bash", "-c", line])
    try:
        yield shown
    finally:
        shown.close()


def child_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def made():
    """Has the known sockets made; how many failed, and how many were IPv6's."""
    came = make_known(NAMED)
    assert len(came) == len(REQUESTS) == 23
    return sum(error != 0 for *_, error in came), sum(family == INET6 for family, *_ in came)


def left_as_it_was(shown, before, status=0):
    display = shown.until("left ")
    assert f"left {status}" in display
    assert shown.modes == before
    assert shown.output.rfind(b"\x1b[?1049h") < shown.output.rfind(b"\x1b[?1049l")
    assert b"UNACCOUNTED" not in shown.output
    assert b"Traceback" not in shown.output


def threads(pid):
    """(nice, effective capabilities) of each, the main one first."""
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        capabilities = (task / "status").read_text().partition("CapEff:")[2].split()[0]
        yield int(fields[16]), int(capabilities, 16)


def amid_its_compiling(pid):
    """Waits until process ``pid`` has the compiler in its memory, which takes it seconds to go through with."""
    maps = Path(f"/proc/{pid}/maps")
    deadline = time.monotonic() + START_S
    while "libbcc" not in maps.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_screen_of_the_whole_machine():
    with top("--comm", "known23") as shown:
        before = shown.modes
        shown.until("inetprobe top", "live", "sockets 0 ", "lost 0", timeout=START_S)
        (nice, none), *others = threads(child_of(shown.pid))
        assert (nice, none) == (0, 0)
        assert (-10, 0) in others  # the reader goes first, without a capability
        assert not any(capabilities for _, capabilities in others)
        failed, inet6 = made()
        shown.until("sockets 23 ", f"failed {failed} ", "lost 0  incomplete 0", "inet_create", "/s)")
        shown.type("2")
        shown.until("inet stream tcp", "SOCKETS▼")
        shown.type(">r")
        shown.until("/S▲")
        shown.type("4")
        shown.until("known23", "MODULES")
        shown.type("p")
        shown.until("PAUSED")
        made()
        shown.read(2)
        assert "sockets 23 " in shown.display
        shown.type("p")
        shown.until("sockets 46 ", gone="PAUSED")
        shown.type("/--family inet6\r")
        shown.until("filter: --family inet6", "sockets 0 ")
        made()
        shown.until(f"sockets {inet6} ")
        shown.type("q")
        left_as_it_was(shown, before)
        assert b"69 sockets created, 69 complete, 0 incomplete, 0 lost" in shown.output


def test_a_command_s_output_is_not_on_the_screen_and_its_status_is_ours():
    script = f"echo noise; echo noise >&2; {shlex.join(map(str, KNOWN))}; exit 3"
    with top("--", "sh", "-c", script) as shown:
        before = shown.modes
        shown.until("sockets 23 ", "ended", "lost 0  incomplete 0", timeout=START_S)
        shown.type("q")
        left_as_it_was(shown, before, status=3)
        assert b"noise" not in shown.output


@pytest.mark.parametrize(
    ("options", "moment", "statuses"),
    [((), "inetprobe: tracing", (0, 130)), (("--", "sleep", "600"), "inetprobe: tracing", (130, 128 + signal.SIGTERM)),
     (("--duration", "1s"), "ended", (0,))],
    ids=["before-its-screen", "before-its-screen-with-a-command", "ended"],
)  # fmt: skip
def test_ctrl_c_ends_it_before_its_screen_is_up_and_after_its_source_has_ended(options, moment, statuses):
    with top(*options) as shown:
        before = shown.modes
        shown.until(moment, timeout=START_S)
        shown.type("\x03")
        display = shown.until("left ")
        assert any(f"left {status}" in display for status in statuses)
        assert shown.modes == before
        assert b"Traceback" not in shown.output


def test_ctrl_c_before_anything_is_attached():
    with top("--", "touch", "/tmp/ran") as shown:
        shown.read(1)
        amid_its_compiling(child_of(shown.pid))
        shown.type("\x03")
        assert "left 130" in shown.until("left ")
        assert b"tracing" not in shown.output
        assert b"Traceback" not in shown.output
    assert not Path("/tmp/ran").exists()


def test_quitting_ends_the_command():
    with top("--", "sleep", "600") as shown:
        before = shown.modes
        shown.until("sockets 0 ", timeout=START_S)
        shown.type("q")
        left_as_it_was(shown, before, status=128 + signal.SIGTERM)


def test_a_command_that_does_not_end_is_said_and_left_alone():
    script = f"trap '' TERM INT; {sys.executable} -c 'import socket; socket.socket()'; while :; do sleep 1; done"
    with top("-q", "--", "sh", "-c", script) as shown:
        before = shown.modes
        shown.until("sockets 1 ", timeout=START_S)
        stubborn = child_of(child_of(shown.pid))
        try:
            shown.type("q")
            shown.until("waiting for it")
            assert shown.modes == before
            shown.type("\x03")
            left_as_it_was(shown, before)
            os.kill(stubborn, 0)
        finally:
            os.kill(stubborn, signal.SIGKILL)


BROKEN = """
from inetprobe.commands.top import screen
def head(frame):
    raise ValueError('no such thing')
screen.head = head
from inetprobe.cli.main import main
main()
"""


def test_a_screen_that_fails_takes_the_probes_away():
    with top(program=f"-c {shlex.quote(BROKEN)}") as shown:
        before = shown.modes
        shown.until("left", timeout=START_S)
        left_as_it_was(shown, before, status=125)
        assert b"screen failed (ValueError: no such thing)" in shown.output


def test_printed_once_for_a_while():
    with tempfile.TemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        process = Forked(("top", "--once", "--duration", "30s", "--comm", "known23"), out, err)
        deadline = time.monotonic() + START_S
        while "tracing" not in Path(err.name).read_text():
            assert process.poll() is None, Path(err.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        failed, _ = made()
        assert process.wait(120) == 0
        out.seek(0)
        lines = out.read().splitlines()
    assert lines[0].startswith("sockets 23 (")
    assert f"failed {failed} " in lines[0]
    assert lines[1] == "lost 0  incomplete 0"


def test_printed_once_of_a_command():
    result = inetprobe("top", "--once", "--rows", "50", "--", *KNOWN)
    assert result.status == 0, result.err
    assert result.out.startswith("sockets 23 (")
    assert "inet stream tcp" in result.out


def test_a_reader_of_its_tables_that_leaves():
    line = shlex.join(command("top", "--once", "--", *KNOWN)) + " | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=START_S, check=False
    )
    assert done.stdout.startswith("sockets 23 (")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
