"""Completion as shells request it, without importing a command."""

import os
import shutil
import subprocess
import sys

import click
import pytest

from inetprobe.cli.main import _HELPS, cli
from tests.support import examples, run_command
from tests.support.paths import ROOT
from tests.support.pty_screen import Terminal


@pytest.fixture(name="environment")
def _environment(tmp_path):
    return examples.prepare(tmp_path, "inetprobe")


def script(shell):
    done = run_command.run("completion", shell)
    assert done.returncode == 0
    return done.stdout


def in_bash(environment, line):
    """The COMPREPLY of bash's own function for the last word of ``line``."""
    words = line.split(" ")
    program = (
        f"{script('bash')}\nCOMP_WORDS=({' '.join(f'{word!r}' for word in words)})\n"
        f"COMP_CWORD={len(words) - 1}\n_inetprobe_completion inetprobe\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    done = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("inetprobe re", ["record", "replay", "report"]),
        ("inetprobe replay --family ine", ["inet", "inet6"]),
        ("inetprobe replay --family unix,ine", ["unix,inet", "unix,inet6"]),
        ("inetprobe replay --family unix,!ine", ["unix,!inet", "unix,!inet6"]),
        ("inetprobe replay --family AF_IN", ["AF_INET", "AF_INET6"]),
        ("inetprobe top --type str", ["stream"]),
        ("inetprobe check --protocol udp", ["udp", "udplite"]),
        ("inetprobe export --errno eprotono", ["EPROTONOSUPPORT"]),
        ("inetprobe serve --uid roo", ["root"]),
        ("inetprobe trace --ring-size 5000 --mech", ["--mechanism"]),
        ("inetprobe export --to perf", ["perfetto"]),
        ("inetprobe nonesuch x", []),
    ],
)
def test_bash_completes(line, expected, environment):
    assert in_bash(environment, line) == expected


def test_a_real_bash_completes_files_itself(environment, tmp_path):
    (tmp_path / "boot.arrows").touch()
    (tmp_path / "completion.bash").write_text(script("bash"))
    terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], **environment)
    try:
        terminal.type(f"cd {tmp_path}; PS1='> '; source ./completion.bash; echo re''ady\n")
        terminal.until("ready")
        terminal.type("inetprobe repl\t")
        terminal.until("inetprobe replay ")
        terminal.type("--errno EPROTONO\t")
        terminal.until("--errno EPROTONOSUPPORT")
        terminal.type("boo\t")
        terminal.until("boot.arrows")
    finally:
        terminal.close()


def test_fish_accepts_the_script(environment):
    program = f"{script('fish')}\ncomplete -C 'inetprobe replay --family unix,ine'"
    done = subprocess.run(["fish", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["unix,inet", "unix,inet6"]


def test_zsh_accepts_the_script(environment, tmp_path):
    (tmp_path / ".zshrc").write_text("autoload -U compinit; compinit -u\n" + script("zsh") + "PS1='> '\necho re''ady\n")
    terminal = Terminal([shutil.which("zsh"), "-i"], **environment)
    try:
        terminal.until("ready")
        terminal.type("inetprobe repl\t")
        terminal.until("inetprobe replay ")
        terminal.type("--errno EPROTONO\t")
        terminal.until("--errno EPROTONOSUPPORT")
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        (["-h"], {}),
        ([], {"_INETPROBE_COMPLETE": "bash_complete", "COMP_WORDS": "inetprobe re", "COMP_CWORD": "1"}),
    ],
)
def test_names_and_help_import_no_command(argv, environment):
    program = (
        "import atexit, sys; from inetprobe.cli.main import main\n"
        "loaded = lambda name: name.startswith('inetprobe.commands.') or name == 'numpy'\n"
        "atexit.register(lambda: print([name for name in sys.modules if loaded(name)]))\n"
        f"sys.argv = ['inetprobe', *{argv!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert "replay" in done.stdout


@pytest.mark.parametrize("command", _HELPS)
def test_the_table_has_each_command_s_first_sentence(command):
    help_ = " ".join(cli.get_command(click.Context(cli), command).help.split("\n\n")[0].split())
    assert help_.startswith(_HELPS[command])
