"""A command as ``main`` runs it, in this process: what a shell would see of it, without the start of another Python."""

import contextlib
import io
import sys
import tempfile
from typing import NamedTuple
from unittest import mock

from inetprobe.cli.main import main


class Done(NamedTuple):
    """As subprocess has it."""

    returncode: int
    stdout: str
    stderr: str


def run(*argv, stdin=""):
    """``inetprobe ARGV``; an exception that would be a traceback is one here, too."""
    with _file() as out, _file() as err, mock.patch.object(sys, "argv", ["inetprobe", *map(str, argv)]):
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "stdin", given):
            try:
                main()
            except SystemExit as ended:
                status = ended.code or 0
        return Done(status, _read(out), _read(err))


def _file():
    # A real one, since a command may ask for its number.
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="")


def _read(file):
    file.seek(0)
    return file.read()
