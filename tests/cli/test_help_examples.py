"""Every example of --help that needs no kernel, run as it stands; tests/live has those that do."""

import itertools
import shlex
import subprocess
from pathlib import Path

import pytest

from inetprobe.cli.main import _COMMANDS
from tests.support import examples

# What an example writes is its point: everything else prints.
_LEAST_BYTES = 20


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_two(command):
    found = examples.of(command)
    assert len(found) >= 2, found
    assert all(example.split()[1] == command for example in found)


@pytest.mark.parametrize("example", examples.collect(lambda example: not examples.needs_kernel(example)))
def test_it_does_what_it_says(example, tmp_path):
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
    """What stands in the file or the folder that the example names after -o or behind >; nothing without one."""
    words = shlex.split(example)
    for before, word in itertools.pairwise(words):
        if before in ("-o", ">", ">>"):
            target = folder / Path(word.replace("~", str(folder)))
            return b"".join(one.read_bytes() for one in [target, *target.rglob("*")] if one.is_file())
    return b""
