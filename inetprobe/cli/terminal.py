"""The standard streams of this process, and libraries that are imported without starting threads."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click

from inetprobe.base.text import printable


@contextlib.contextmanager
def no_library_threads() -> Iterator[None]:
    """Libraries imported in this block start no threads: a thread from before capabilities are dropped would keep them.

    numpy's BLAS would start one thread per CPU, and inetprobe multiplies no matrices; Arrow's allocator would start one
    that returns memory.
    """
    switches = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    before = {name: os.environ.get(name) for name in switches}
    os.environ |= switches
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]  # COMMAND must not inherit it
            else:
                os.environ[name] = value


def _open_what_is_closed() -> None:
    """Opens /dev/null for each standard stream that the parent has closed (``>&-``): for Python it is None, and its
    descriptor would go to the next file that is opened, which may be a recording."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            if nothing != number:
                os.close(nothing)
            os.set_inheritable(number, True)  # for COMMAND as well
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _leave_quietly() -> NoReturn:
    _forget_stdout()
    sys.exit(0)


def lenient_stdout() -> None:
    """Escapes characters that stdout's encoding lacks, in a path or a comm, instead of ending the command."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Redirects stdout to /dev/null, so that Python does not write its buffer again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _drop_what_cannot_be_written() -> None:
    """Flushes stdout. Where that fails, Python would try again at exit, and end with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_stdout()


def say(quiet: bool, show: Callable[[str], None] = _say) -> Any:
    """A function that writes one line for the user, by ``show``, to stderr; with ``quiet`` it writes nothing."""
    return (lambda line: None) if quiet else (lambda line: show(f"inetprobe: {printable(line)}"))
