"""Runs every example of --help that needs no kernel; tests/live runs the others."""

import itertools
import shlex
import subprocess
from pathlib import Path

import pytest

from inetprobe.cli.main import _COMMANDS
from tests.support import examples

# An example must write or print at least this much.
_LEAST_BYTES = 20


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_two_examples(command):
    found = examples.of(command)
    assert len(found) >= 2, found
    assert all(example.split()[1] == command for example in found)


@pytest.mark.parametrize("example", examples.collect(lambda example: not examples.needs_kernel(example)))
def test_an_example_works(example, tmp_path):
    environment = examples.prepare(tmp_path, example)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", example],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(written(example, tmp_path) or done.stdout) >= _LEAST_BYTES, done.stderr


def written(example, folder):
    """The content of the file or folder that the example names after -o or >; empty without one."""
    words = shlex.split(example)
    for before, word in itertools.pairwise(words):
        if before in ("-o", ">", ">>"):
            target = folder / Path(word.replace("~", str(folder)))
            return b"".join(one.read_bytes() for one in [target, *target.rglob("*")] if one.is_file())
    return b""
