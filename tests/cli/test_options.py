"""Sizes, options after COMMAND, and the order of options in --help."""

import subprocess

import click
import pytest

import inetprobe
from inetprobe.base.errors import UsageError
from inetprobe.cli.main import cli
from inetprobe.cli.options import parse_size
from inetprobe.commands import vm
from inetprobe.commands.record import record_command
from inetprobe.commands.top.command import top_command
from inetprobe.commands.trace import trace_command
from inetprobe.commands.vm import vm_command

# A command keeps the first help option it is asked for, so that it is to be asked as the group would.
GROUP = click.Context(cli, **cli.context_settings)


@pytest.mark.parametrize(
    ("word", "size"),
    [("8388608", 1 << 23), ("8MiB", 1 << 23), ("1M", 1 << 20), ("64k", 1 << 16), ("512 KB", 1 << 19), ("1g", 1 << 30)],
)
def test_a_size(word, size):
    assert parse_size(word) == size


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("5000", "not a power of two: give 8192 or 4096"),
        ("3MiB", "not a power of two: give 4194304 or 2097152"),
        ("2K", "out of range"),
        ("2GiB", "out of range"),
        ("9999999999G", "out of range"),
        ("8 apples", "is not a size"),
        ("-1", "is not a size"),
        ("٨", "is not a size"),
    ],
)
def test_an_invalid_size(word, says):
    with pytest.raises(UsageError, match=says):
        parse_size(word)


@pytest.mark.parametrize("command", [record_command, top_command, trace_command], ids=["record", "top", "trace"])
@pytest.mark.parametrize("words", [["ping", "-c", "1", "--", "host"], ["--", "ping", "-c", "1", "--", "host"]])
def test_options_after_command_belong_to_command(command, words):
    context = command.make_context(
        "it", ["-x", "-o", "file", *words] if command is record_command else ["-x", *words], parent=GROUP
    )
    assert context.params["failed"]
    assert context.params["command"] == ("ping", "-c", "1", "--", "host")


def test_options_of_vm_come_before_the_command():
    context = vm_command.make_context("vm", ["--cpus", "4", "trace", "-q", "--", "true"], parent=GROUP)
    assert (context.params["cpus"], context.params["quiet"]) == (4, False)
    assert context.params["args"] == ("trace", "-q", "--", "true")
    with pytest.raises(click.NoSuchOption, match="--memry"):
        vm_command.make_context("vm", ["--memry", "4G", "--", "doctor"], parent=GROUP)


def test_the_vm_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(vm, "run_in_vm", lambda argv, _compile, **_: ran.append(argv))
    monkeypatch.setattr(vm.kernels, "resolve", lambda *_: None)
    with pytest.raises(SystemExit):
        vm_command.main(["--", "--version"], parent=GROUP, standalone_mode=False)
    (tmp_path / "click.py").write_text("raise SystemExit('this folder is imported from')")
    (tmp_path / "inetprobe").mkdir()
    done = subprocess.run(ran[0], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"inetprobe, version {inetprobe.__version__}\n"


def test_help_lists_other_options_before_the_filters():
    text = trace_command.get_help(click.Context(trace_command, GROUP, terminal_width=80))
    options, filters = text.partition("\nOptions:\n")[2].split("\nFilters (")
    assert "--format" in options
    assert "--format" not in filters
    for name in ("--pid", "--errno", "--failed", "--min-duration"):
        assert f"{name} " in filters
        assert f"{name} " not in options
    assert max(map(len, text.splitlines())) <= 80
