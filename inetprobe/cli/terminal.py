"""The streams of this process: notes on stderr, a closed pipe, colours; and libraries loaded without threads."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from inetprobe.base.text import printable


@contextlib.contextmanager
def no_library_threads() -> Iterator[None]:
    """What is imported here begins no threads: one that was there before capabilities are dropped would keep them.

    numpy's BLAS starts one a CPU, and nothing here multiplies matrices; Arrow's allocator one that gives memory back.
    """
    switches = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    before = {name: os.environ.get(name) for name in switches}
    os.environ |= switches
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]  # it is not COMMAND's business
            else:
                os.environ[name] = value


def _open_what_is_closed() -> None:
    """A standard stream that whoever started this has closed (``>&-``) is none to Python, and its number goes to the
    next file that is opened, which may be a recording."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            if nothing != number:
                os.close(nothing)
            os.set_inheritable(number, True)  # COMMAND's, too
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _leave_quietly() -> NoReturn:
    _forget_stdout()
    sys.exit(0)


def lenient_stdout() -> None:
    """What stdout's encoding lacks, of a path or a comm, is escaped there instead of ending the command."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """What Python still has buffered for it must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(quiet: bool) -> Any:
    """A function that tells the user one line on stderr, or nobody."""
    return (lambda line: None) if quiet else (lambda line: _say(f"inetprobe: {printable(line)}"))
