"""``inetprobe top`` on a real terminal."""

import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.support import recorded
from tests.support.pty_screen import Terminal


@pytest.fixture(name="recording")
def recorded_kinds(tmp_path):
    return recorded.every_kind(tmp_path / "r.arrows")


@contextlib.contextmanager
def top(recording, *options, program=None, **terminal):
    # In a shell, since a terminal loses its modes with its last process.
    how = "-m inetprobe" if program is None else f"-c {shlex.quote(program)}"
    argv = f"{sys.executable} {how} top --replay {recording} {' '.join(options)}; echo left $?; read x"
    shown = Terminal(["bash", "-c", argv], **terminal)
    try:
        yield shown
    finally:
        shown.close()


def child_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def left(shown, before):
    """The previous screen and modes are back, and nothing stays switched on."""
    display = shown.until("left ")
    assert shown.modes == before
    entered, gone = shown.output.rfind(b"\x1b[?1049h"), shown.output.rfind(b"\x1b[?1049l")
    assert 0 <= entered < gone
    for mode in (b"25h", b"1000l", b"1003l", b"2004l", b"1004l", b"7h"):
        assert b"\x1b[?" + mode in shown.output[entered:], mode
    return display


@pytest.mark.parametrize("keys", ["q", "\x03"])
def test_a_key_quits_and_restores_the_terminal(recording, keys):
    with top(recording) as shown:
        before = shown.modes
        shown.until("inetprobe top", "sk_prot_alloc", "sockets 10", "lost 0", "q quit")
        assert shown.modes != before
        shown.type(keys)
        assert "left 0" in left(shown, before)
        assert b"12 calls" in shown.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_restores_the_terminal(recording, number):
    with top(recording) as shown:
        before = shown.modes
        shown.until("sk_prot_alloc")
        os.kill(child_of(shown.pid), number)
        assert "left 0" in left(shown, before)


EARLY = """
import os, signal
from inetprobe.commands.top import screen
run = screen.TopScreen.run
def interrupted(app):
    os.kill(os.getpid(), signal.{name})
    run(app)
screen.TopScreen.run = interrupted
from inetprobe.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_the_screen_is_up_counts(recording, number):
    with top(recording, program=EARLY.format(name=number.name)) as shown:
        before = shown.modes
        assert "left 0" in left(shown, before)


def test_top_ends_when_its_terminal_goes_away(recording):
    shown = Terminal([sys.executable, "-m", "inetprobe", "top", "--replay", str(recording)])
    try:
        shown.until("sk_prot_alloc")
        assert shown.hang_up(timeout=20) > 0
    finally:
        shown.close()


def test_keys_and_sizes(recording):
    with top(recording) as shown:
        shown.until("sk_prot_alloc")
        shown.type("4")
        shown.until("COMM", "python3", "a\\x1b[31m")
        shown.type("6")
        shown.until("net-pf-2-proto-132")
        shown.resize(132, 40)
        shown.until("REQUESTED BY", "python3 100")
        shown.type("?")
        shown.until("reverse the order")
        shown.type("q")
        shown.until("REQUESTED BY", "r reverse", gone="reverse the order")
        shown.type("q")
        shown.until("left 0")


def test_a_filter_typed_in_one_burst(recording):
    with top(recording) as shown:
        for burst in (
            "/--family inet6\r",
            "/nonsense\x15--family inet6\r",
            "/\x1b[200~--family inet6\x1b[201~\r",
            "/inet6\x01--family \r4",
        ):
            shown.until("sockets 10", gone="filter:")
            shown.type(burst)
            shown.until("filter: --family inet6", "sockets 1 ")
            shown.type("/\x15\r")  # the filter is taken away
        shown.type("q")
        shown.until("left 0")


def test_keys_of_one_burst_are_handled_in_order(recording):
    with top(recording) as shown:
        shown.until("sk_prot_alloc")
        shown.type("6p?q/--family inet6\rp4r")
        shown.until("COMM", "filter: --family inet6", "sockets 1 ", gone="PAUSED")
        shown.type("\x03")
        shown.until("left 0")


BROKEN = """
import sys
from inetprobe.commands.top import once, screen
def head(frame):
    raise ValueError("no such \x1b[31mthing")
screen.head = head
from inetprobe.cli.main import main
main()
"""


def test_a_failing_screen_restores_the_terminal_and_reports(recording):
    with top(recording, program=BROKEN) as shown:
        display = left(shown, shown.modes)
        assert "left 125" in display
        assert "top's screen failed (ValueError: no such \\x1b[31mthing)" in display.replace("\n", "")
        assert b"Traceback" not in shown.output
        assert b"locals" not in shown.output


def test_no_color_switches_colour_off(recording):
    with top(recording, NO_COLOR="1") as shown:
        shown.until("sk_prot_alloc")
        fields = shown.output.split(b"\x1b[")
        colours = {field.split(b"m")[0] for field in fields if b"m" in field}
        for one in colours:
            for red, green, blue in _rgb(one):
                assert red == green == blue
        shown.type("q")
        shown.until("left 0")


def _rgb(sgr):
    numbers = sgr.split(b";")
    for place, number in enumerate(numbers):
        if number in (b"38", b"48") and numbers[place + 1 : place + 2] == [b"2"]:
            yield tuple(numbers[place + 2 : place + 5])


def test_a_dumb_terminal_is_refused(recording):
    with top(recording, TERM="dumb") as shown:
        display = shown.until("left 2")
        assert "top --once" in display.replace("\n", "")
        assert b"\x1b[?1049h" not in shown.output


def test_a_damaged_recording_is_shown_and_reported(recording):
    recording.write_bytes(recording.read_bytes()[:-600])
    with top(recording) as shown:
        shown.until("error:")
        shown.type("q")
        shown.until("left 4", "cut short")


def test_nothing_is_imported_after_privileges_are_dropped(tmp_path):
    argv = f"{sys.executable} -m tests.support.after_drop {tmp_path / 'late'} top; echo left $?; read x"
    shown = Terminal(["bash", "-c", argv], OPENBLAS_NUM_THREADS="1")
    try:
        shown.until("inetprobe top", "sk_prot_alloc", "q quit")
        for keys, seen in (
            ("?", "the next table"),
            ("?", "q quit"),
            ("/", "--comm"),
            ("-x\r", "filter"),
            ("q", "left 0"),
        ):
            shown.type(keys)
            shown.until(seen)
    finally:
        shown.close()
    assert (tmp_path / "late").read_text() == ""
