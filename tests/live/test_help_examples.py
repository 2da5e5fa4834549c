"""Every example of --help that needs a kernel, typed on a terminal as it is printed.

An example with a COMMAND ends with it; one that goes on is ended by Ctrl-C.
"""

import sys
import time
from pathlib import Path

import pytest

from tests.support import examples
from tests.support.pty_screen import Terminal

#: Texts on the screen of a command that works: the notes of trace and record, that of serve, and top's keys.
_WORKS = ("inetprobe: tracing", "inetprobe: counting", "q quit")
_WORK_S = 3.0
_TIMEOUT_S = 240.0


def runs_in_this_vm(example):
    """Examples of `inetprobe vm` boot a VM of their own: tests/boot runs them."""
    return examples.needs_kernel(example) and not example.startswith("inetprobe vm ")


@pytest.fixture(name="ping_for_all")
def _ping_for_all():
    """Sets ping_group_range as systemd does on every machine that it runs on."""
    ping_groups = Path("/proc/sys/net/ipv4/ping_group_range")
    before = ping_groups.read_text()
    ping_groups.write_text("0 2147483647")
    yield
    ping_groups.write_text(before)


@pytest.mark.usefixtures("ping_for_all")
@pytest.mark.parametrize("example", examples.collect(runs_in_this_vm))
def test_the_example_works_and_ends_with_status_0(example, tmp_path):
    environment = examples.prepare(tmp_path, example)
    terminal = Terminal(["bash", "-o", "pipefail", "-c", f"cd {tmp_path} && {example}"], columns=120, **environment)
    try:
        goes_on = " -- " not in example
        assert until_it_works_or_ends(terminal, goes_on), f"no work within {_TIMEOUT_S} s:\n{terminal.display}"
        assert terminal.end() == 0, terminal.display
    finally:
        terminal.close()
    assert b"Traceback" not in terminal.output
    print(f"{example}\n{terminal.display.rstrip()}", file=sys.stderr)


def until_it_works_or_ends(terminal, goes_on):
    """Waits for the end of the example; presses Ctrl-C if it ``goes_on``, once it has worked for a while.

    Returns False if it has neither worked nor ended after _TIMEOUT_S.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    working = None
    while time.monotonic() < deadline:
        if not terminal.read():
            return True
        if goes_on and working is None and any(text in terminal.display for text in _WORKS):
            working = time.monotonic()
        if working is not None and time.monotonic() > working + _WORK_S:
            terminal.type("\x03")
            return True
    return False
