"""The exit statuses of inetprobe.base.errors, for every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inetprobe.cli.main import _COMMANDS
from tests.support import recorded, run_command

#: The arguments with which each command reads a recording or traces a kernel.
_READERS = {
    "replay": ["{file}"],
    "check": ["{file}"],
    "report": ["{file}", "-o", "{out}"],
    "export": ["{file}", "--to", "folded"],
    "query": ["{file}", "--ask", "slowest"],
    "serve": ["--replay", "{file}", "--once"],
    "top": ["--replay", "{file}", "--once"],
    "explain": ["--profile", "{file}", "--type", "stream"],
}
_TRACERS = {
    "trace": ["--duration", "1s"],
    "why": ["--duration", "1s"],
    "record": ["--duration", "1s", "-o", "{out}"],
    "top": ["--once"],
    "serve": ["--once"],
    "doctor": [],
}
_NEITHER = {"vm", "completion"}


def given(argv, folder, file=""):
    return [word.format(file=folder / file, out=folder / "out") for word in argv]


def process(*argv, before=(), stdout=subprocess.PIPE):
    done = subprocess.run(
        [*before, sys.executable, "-m", "inetprobe", *argv],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
        # As a user has it: PYTHONUNBUFFERED would hide a buffer that cannot be written at exit.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(name="damaged", scope="module")
def _damaged(tmp_path_factory):
    """An empty recording, one cut short, one damaged in the middle, and a file that is not a recording."""
    folder = tmp_path_factory.mktemp("recordings")
    whole = recorded.every_kind(folder / "whole").read_bytes()
    (folder / "empty").touch()
    (folder / "cut").write_bytes(whole[:-600])
    (folder / "damaged").write_bytes(b"\x55" * 64 + whole[64:])
    (folder / "none").write_text("no recording\n" * 99)
    return folder


def test_every_command_is_in_the_table():
    assert {*_READERS, *_TRACERS, *_NEITHER} == set(_COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_is_0(command):
    assert run_command.run(command, "-h").returncode == 0


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_wrong_command_line_is_2(command):
    done = run_command.run(command, *([] if command == "vm" else ["--no-such-option"]))
    assert done.returncode == 2
    assert done.stderr.startswith("inetprobe: ")
    assert done.stderr.endswith(f" (see inetprobe {command} --help)\n")


@pytest.mark.parametrize("command", _READERS)
@pytest.mark.parametrize("file", ["empty", "cut", "damaged", "none"])
def test_an_incomplete_recording_is_4(command, file, damaged):
    # One case per command is run as a process of its own, to see how it exits.
    run = process if file == "cut" else run_command.run
    done = run(command, *given(_READERS[command], damaged, file))
    if (command, file) == ("explain", "cut"):  # the profile stands at the beginning
        assert done.returncode == 0
    else:
        assert done.returncode == 4, done.stderr
        assert f"{damaged / file}" in done.stderr


@pytest.mark.parametrize("command", [*_READERS, "completion", "doctor"])
def test_a_full_disk_behind_stdout_is_125(command, tmp_path):
    """Not 1, with which Python exits, and which means that a check failed."""
    recorded.every_kind(tmp_path / "whole")
    argv = _READERS | {"report": ["{file}"], "completion": ["bash"], "doctor": []}
    with Path("/dev/full").open("w") as full:
        done = process(command, *given(argv[command], tmp_path, "whole"), stdout=full)
    assert done.returncode == 125, done.stderr
    said = [line for line in done.stderr.splitlines() if " complete, " not in line]
    assert said == ["inetprobe: stdout cannot be written: No space left on device: make room, or write it elsewhere"]


@pytest.mark.parametrize("command", _TRACERS)
def test_a_machine_that_cannot_be_traced_is_3(command, tmp_path):
    """``tests/cli/test_first_words.py`` has the other reasons."""
    # In a user namespace that maps no ids, root is nobody and can read its files.
    before = [] if os.geteuid() else ["unshare", "--user"]
    done = process(command, *given(_TRACERS[command], tmp_path), before=before)
    assert done.returncode == 3, done.stderr
    why, fix = "tracing needs root (or CAP_BPF and CAP_PERFMON, and access to tracefs)", "run it again with sudo"
    if command == "doctor":
        assert f"✗ privileges {why}\n             → {fix}\n" in done.stdout
        assert done.stdout.endswith("Next: sudo inetprobe doctor\n")
    else:
        assert (done.stdout, done.stderr) == ("", f"inetprobe: {why}: {fix}\n")
