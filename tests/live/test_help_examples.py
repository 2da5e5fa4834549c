"""Every example of --help that looks at a kernel, typed on a terminal as it stands. One with a COMMAND ends with it;
what goes on is ended by Ctrl-C."""

import sys
import time
from pathlib import Path

import pytest

from tests.support import examples
from tests.support.pty_screen import Terminal

#: What stands on the screen once it works: the notes of trace and record, of serve, and top's keys.
_WORKS = ("inetprobe: tracing", "inetprobe: counting", "q quit")
_A_WHILE_S = 3.0
_LONGEST_S = 240.0


def here(example):
    """The VM's own boot one: tests/vm has them."""
    return examples.needs_kernel(example) and not example.startswith("inetprobe vm ")


@pytest.fixture(name="ping_for_all")
def _ping_for_all():
    """As systemd sets it wherever it runs."""
    span = Path("/proc/sys/net/ipv4/ping_group_range")
    before = span.read_text()
    span.write_text("0 2147483647")
    yield
    span.write_text(before)


@pytest.mark.usefixtures("ping_for_all")
@pytest.mark.parametrize("example", examples.collect(here))
def test_it_works_until_it_is_stopped(example, tmp_path):
    environment = examples.prepare(tmp_path, example)
    terminal = Terminal(["bash", "-o", "pipefail", "-c", f"cd {tmp_path} && {example}"], columns=120, **environment)
    try:
        goes_on = " -- " not in example
        assert until_it_works_or_ends(terminal, goes_on), f"nothing after {_LONGEST_S} s:\n{terminal.display}"
        assert terminal.end() == 0, terminal.display
    finally:
        terminal.close()
    assert b"Traceback" not in terminal.output
    print(f"{example}\n{terminal.display.rstrip()}", file=sys.stderr)


def until_it_works_or_ends(terminal, goes_on):
    """Interrupts what ``goes_on`` as a user does, once it has worked for a while; False if it came to nothing."""
    deadline = time.monotonic() + _LONGEST_S
    working = None
    while time.monotonic() < deadline:
        if not terminal.read():
            return True
        if goes_on and working is None and any(text in terminal.display for text in _WORKS):
            working = time.monotonic()
        if working is not None and time.monotonic() > working + _A_WHILE_S:
            terminal.type("\x03")
            return True
    return False
