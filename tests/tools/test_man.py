"""The man pages in the tree: up to date, clean by mandoc, and they read as what was declared."""

import subprocess

import pytest

from inetprobe.cli.main import _COMMANDS
from tests.support import examples
from tests.support.paths import ROOT
from tools import man

FOLDER = ROOT / "docs" / "man"
NAMES = ["inetprobe", *(f"inetprobe-{command}" for command in _COMMANDS)]


def shown(source, tmp_path):
    path = tmp_path / "page.1"
    path.write_text(source)
    formatted = subprocess.run(
        ["mandoc", "-Tutf8", "-O", "width=200", path], capture_output=True, text=True, check=True
    )
    return subprocess.run(["col", "-bx"], input=formatted.stdout, capture_output=True, text=True, check=True).stdout


def test_make_man_has_been_run():
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == dict(man.pages())


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_finds_nothing_to_warn_of(name):
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", FOLDER / f"{name}.1"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_page_reads_as_declared(command, tmp_path):
    text = shown(man.page(command), tmp_path)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"):
        assert f"\n{section}\n" in text
    for example in examples.of(command):
        assert f"{example}\n" in text
    for page in NAMES:
        assert (f"{page}(1)" in text) or page == f"inetprobe-{command}"


@pytest.mark.parametrize("text", [".SH not a section", "'br", r"a\fBb \n c", "--long-option -x", "^~`\"'"])
def test_what_roff_would_take_for_its_own_is_shown(text, tmp_path):
    source = f'.TH "T" "1" "2026-01-01"\n.SH NAME\n{man._plain(text)}\n'
    assert text in [line.strip() for line in shown(source, tmp_path).splitlines()]
