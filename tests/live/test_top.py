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

from inetprobe.commands.top import screen
from tests.live.conftest import Forked, become_inetprobe, command
from tests.live.conftest import inetprobe as run_inetprobe
from tests.live.known import INET6, REQUESTS, make_known
from tests.support.pty_screen import Terminal

KNOWN = [sys.executable, Path(__file__).with_name("known.py")]
NAMED = "open('/proc/self/comm', 'w').write('known23')"
START_S = 240  # the compiler, on an emulated CPU


@contextlib.contextmanager
def top(*options, patch=None):
    """`inetprobe top`, in a fork of this process, after ``patch()``; its parent on the terminal says how it ended, and
    stays, since a terminal loses its modes when its last process ends."""

    def shell():
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for top
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if patch is not None:
                patch()
            become_inetprobe(["top", *options])
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(1, f"left {status if status >= 0 else 128 - status}\n".encode())
        os.read(0, 1)

    shown = Terminal(shell)
    try:
        yield shown
    finally:
        shown.close()


def child_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def make_sockets():
    """Makes the known sockets. Returns how many failed and how many were of IPv6."""
    outcomes = make_known(NAMED)
    assert len(outcomes) == len(REQUESTS) == 23
    return sum(error != 0 for *_, error in outcomes), sum(family == INET6 for family, *_ in outcomes)


def check_restored(shown, before, status=0):
    """top has ended with ``status``, left the alternate screen and reset the terminal's modes."""
    display = shown.until("left ")
    assert f"left {status}" in display
    assert shown.modes == before
    assert shown.output.rfind(b"\x1b[?1049h") < shown.output.rfind(b"\x1b[?1049l")
    assert b"UNACCOUNTED" not in shown.output
    assert b"Traceback" not in shown.output


def threads(pid):
    """Yields (nice, effective capabilities) of each thread, the main thread first."""
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        capabilities = (task / "status").read_text().partition("CapEff:")[2].split()[0]
        yield int(fields[16]), int(capabilities, 16)


def told(path):
    """Bytes of a file of /proc; none where its process or thread has ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_until_it_compiles(pid):
    """Waits until process ``pid`` has started the compiler, which takes seconds from then on."""
    deadline = time.monotonic() + START_S
    while not any(
        b"libbcc.py" in told(Path(f"/proc/{child}/cmdline"))
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in told(children).decode().split()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_screen_counts_sorts_pauses_and_filters():
    with top("--comm", "known23") as shown:
        before = shown.modes
        shown.until("inetprobe top", "live", "sockets 0 ", "lost 0", timeout=START_S)
        main, *others = threads(child_of(shown.pid))
        assert main == (0, 0)
        assert (-10, 0) in others  # the reader has priority, and no capability
        assert not any(capabilities for _, capabilities in others)
        failed, inet6 = make_sockets()
        shown.until("sockets 23 ", f"failed {failed} ", "lost 0  incomplete 0", "inet_create", "/s)")
        shown.type("2")
        shown.until("inet stream tcp", "SOCKETS▼")
        shown.type(">r")
        shown.until("/S▲")
        shown.type("4")
        shown.until("known23", "MODULES")
        shown.type("p")
        shown.until("PAUSED")
        make_sockets()
        shown.read(2)
        assert "sockets 23 " in shown.display
        shown.type("p")
        shown.until("sockets 46 ", gone="PAUSED")
        shown.type("/--family inet6\r")
        shown.until("filter: --family inet6", "sockets 0 ")
        make_sockets()
        shown.until(f"sockets {inet6} ")
        shown.type("q")
        check_restored(shown, before)
        assert b", 69 complete, 0 incomplete, 0 lost" in shown.output


def test_a_command_s_output_is_not_on_the_screen_and_its_status_is_passed_on():
    script = f"echo noise; echo noise >&2; {shlex.join(map(str, KNOWN))}; exit 3"
    with top("--", "sh", "-c", script) as shown:
        before = shown.modes
        shown.until("sockets 23 ", "ended", "lost 0  incomplete 0", timeout=START_S)
        shown.type("q")
        check_restored(shown, before, status=3)
        assert b"noise" not in shown.output


@pytest.mark.parametrize(
    ("options", "moment", "statuses"),
    [((), "inetprobe: tracing", (0, 130)), (("--", "sleep", "600"), "inetprobe: tracing", (130, 128 + signal.SIGTERM)),
     (("--duration", "1s"), "ended", (0,))],
    ids=["before-its-screen", "before-its-screen-with-a-command", "ended"],
)  # fmt: skip
def test_ctrl_c_ends_top_before_its_screen_is_up_and_after_the_source_has_ended(options, moment, statuses):
    with top(*options) as shown:
        before = shown.modes
        shown.until(moment, timeout=START_S)
        shown.type("\x03")
        display = shown.until("left ")
        assert any(f"left {status}" in display for status in statuses), display
        assert shown.modes == before
        assert b"Traceback" not in shown.output


@pytest.mark.usefixtures("compiling_here")
def test_ctrl_c_while_compiling_ends_top_with_status_130(tmp_path, monkeypatch):
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))  # where no earlier test's program is
    with top("--", "touch", "/tmp/ran") as shown:
        shown.read(1)
        wait_until_it_compiles(child_of(shown.pid))
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
        check_restored(shown, before, status=128 + signal.SIGTERM)


def test_a_command_that_does_not_end_is_reported_and_left_running():
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
            check_restored(shown, before)
            os.kill(stubborn, 0)
        finally:
            os.kill(stubborn, signal.SIGKILL)


def test_a_screen_that_fails_ends_top_with_status_125_and_leaves_no_probe():
    def broken(_frame):
        raise ValueError("no such thing")

    with top(patch=lambda: setattr(screen, "head", broken)) as shown:
        before = shown.modes
        shown.until("left", timeout=START_S)
        check_restored(shown, before, status=125)
        assert b"screen failed (ValueError: no such thing)" in shown.output


def test_once_with_a_duration_prints_the_counts():
    with tempfile.TemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        process = Forked(("top", "--once", "--duration", "15s", "--comm", "known23"), out, err)
        deadline = time.monotonic() + START_S
        while "tracing" not in Path(err.name).read_text():
            assert process.poll() is None, Path(err.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        failed, _ = make_sockets()
        assert process.wait(120) == 0
        out.seek(0)
        lines = out.read().splitlines()
    assert lines[0].startswith("sockets 23 (")
    assert f"failed {failed} " in lines[0]
    assert lines[1] == "lost 0  incomplete 0"


def test_once_with_a_command_prints_its_sockets():
    result = run_inetprobe("top", "--once", "--rows", "50", "--", *KNOWN)
    assert result.status == 0, result.err
    assert result.out.startswith("sockets 23 (")
    assert "inet stream tcp" in result.out


def test_once_ends_quietly_when_the_reader_of_its_output_has_gone():
    line = shlex.join(command("top", "--once", "--", *KNOWN)) + " | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=START_S, check=False
    )
    assert done.stdout.startswith("sockets 23 (")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
