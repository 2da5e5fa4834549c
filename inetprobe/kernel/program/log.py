"""The logs of libbcc, LLVM and the verifier, which write to file descriptor 2: many lines, one of them telling."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator


def telling(log: str) -> str:
    """The line of a compiler's or verifier's log that says what is wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "invalid" in line.lower() or "Failed" in line]
    return (errors or lines or [""])[0]


@contextlib.contextmanager
def captured_stderr(say: Callable[[str], None] | None) -> Iterator[Callable[[], str]]:
    """Redirects file descriptor 2 while the block runs; yields a function that returns the text so far.

    ``say``, if given, takes every line afterwards.
    """
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)

        def read() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            if say is not None:
                for line in read().splitlines():
                    say(line)
