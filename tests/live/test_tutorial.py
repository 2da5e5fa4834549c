"""docs/tutorial.md typed from its first command to its last, in one shell: each command prints the output on the page.

INETPROBE_RENEW_TUTORIAL=1 writes the printed output into the page (`make tutorial`). The page loads SCTP, which cannot
be unloaded, so this test needs a boot of its own: a run of all of tests/live leaves it out.
"""

import os
import selectors
import subprocess
import time
from pathlib import Path

from tests.support import examples, tutorial_page

PAGE = examples.ROOT / "docs" / "tutorial.md"
_END = "end of output"
_TIMEOUT_S = 120.0


class Shell:
    """A bash into which commands are typed; their stdout and stderr are kept apart."""

    def __init__(self, folder, environment):
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
        )

    def type(self, command):
        """Runs a command. Returns (stream, line) of each line it prints, in order; stream 1 is stdout, 2 stderr."""
        end = f"status=$?; echo {_END!r}; echo {_END!r} >&2; (exit $status)"
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null; {end}\n".encode())
        self._bash.stdin.flush()
        lines, rest, deadline = [], {1: b"", 2: b""}, time.monotonic() + _TIMEOUT_S
        with selectors.DefaultSelector() as ready:
            ready.register(self._bash.stdout, selectors.EVENT_READ, 1)
            ready.register(self._bash.stderr, selectors.EVENT_READ, 2)
            while ready.get_map():
                assert time.monotonic() < deadline, f"$ {command}: not done after {_TIMEOUT_S} s; so far {lines}"
                for key, _ in ready.select(1.0):
                    chunk = os.read(key.fd, 1 << 16)
                    assert chunk, f"$ {command}: bash ended"
                    *whole, rest[key.data] = (rest[key.data] + chunk).split(b"\n")
                    for line in map(bytes.decode, whole):
                        if line == _END:
                            ready.unregister(key.fileobj)
                        else:
                            lines.append((key.data, line))
        return lines

    def close(self):
        """Ends the shell."""
        self._bash.stdin.close()
        self._bash.wait(10)


def differences(page, folder):
    """Types every command; yields its difference from the page (None for none) and the lines that it printed."""
    path = f"{examples.install(folder / 'bin')}:{os.environ['PATH']}"
    work = folder / "work"
    work.mkdir()
    shell = Shell(work, os.environ | {"PATH": path})
    try:
        for part in tutorial_page.parse(page):
            if isinstance(part, tutorial_page.File):
                (work / part.name).write_text(part.text)
                continue
            lines = shell.type(part.command)
            out, err = ([line for stream, line in lines if stream == wanted] for wanted in (1, 2))
            printed = [line for _, line in lines]
            yield tutorial_page.difference(part, out, err, printed), printed
    finally:
        shell.close()


def test_each_command_prints_the_output_on_the_page(tmp_path):
    assert "\nsctp " not in Path("/proc/modules").read_text(), "sctp is loaded already, but the page begins without it"
    page = PAGE.read_text()
    results = list(differences(page, tmp_path))
    if os.environ.get("INETPROBE_RENEW_TUTORIAL"):
        PAGE.write_text(tutorial_page.renewed(page, [printed if wrong else None for wrong, printed in results]))
        return
    wrong = [text for text, _ in results if text]
    assert not wrong, "\n\n".join(wrong)
