"""`make check-pythons` runs under every Python that the package claims, and says which it could not have."""

import os
import shutil
import subprocess
import tomllib

import pytest

from tests.support.paths import ROOT
from tools import pythons

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_lowest_python_is_the_first_that_is_tried():
    assert PROJECT["requires-python"] == f">={pythons.versions()[0]}"
    assert pythons.versions() == ["3.11", "3.12", "3.13", "3.14"]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """pythons.main() whose setups end with the given statuses, and whose checks with those of ``checks``."""

    def main(setups, checks=()):
        results = iter(checks)

        def called(command, **options):
            status = setups[command[2]] if command[0] == "tools/setup.sh" else next(results)
            return subprocess.CompletedProcess(command, status)

        monkeypatch.setattr(subprocess, "run", called)
        monkeypatch.setattr("sys.argv", ["pythons.py", *setups])
        return pythons.main(), capsys.readouterr().out.splitlines()

    (tmp_path / "build").mkdir()
    monkeypatch.setattr(pythons, "ROOT", tmp_path)
    return main


def test_a_python_that_cannot_be_had_is_left_out_and_counted(run):
    status, lines = run({"3.11": 0, "3.14": pythons.NOT_HERE}, checks=[0, 0])
    assert lines == ["pythons: 3.11 passed", "pythons: 3.14 not here", "pythons: 1 passed, 0 failed, 1 skipped"]
    assert status == 0


def test_the_tests_run_even_where_the_types_are_wrong(run):
    status, lines = run({"3.11": 0, "3.12": 0}, checks=[1, 1, 0, 0])
    assert "pythons: 3.11 failed: types and tests" in lines
    assert lines[-2:] == ["pythons: 3.12 passed", "pythons: 1 passed, 1 failed, 0 skipped"]
    assert status == 1


def test_no_python_at_all_is_a_failure(run):
    assert run({"3.14": pythons.NOT_HERE})[0] == 1


def test_packages_that_cannot_be_installed_are_a_failure(run):
    status, lines = run({"3.13": 1})
    assert lines[0] == "pythons: 3.13 failed to install"
    assert status == 1


@pytest.fixture
def setup(tmp_path):
    """`setup.sh python 3.99` in a folder of its own, with these programs first on PATH. Its uv has no Python, and notes
    its arguments."""

    def program(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / path).chmod(0o755)

    def run(**programs):
        for name, text in programs.items():
            program(f"bin/{name}", text)
        program("build/uv/bin/uv", 'echo "$@" >>uv.txt; [ "$1" != python ]')
        program(".venv/bin/python", "exit 1")
        (tmp_path / "tools").mkdir()
        shutil.copy(ROOT / "tools/setup.sh", tmp_path / "tools")
        done = subprocess.run(
            ["tools/setup.sh", "python", "3.99"],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), (tmp_path / "uv.txt").read_text().splitlines()

    return run


def test_setup_says_in_one_line_that_a_python_is_missing(setup):
    status, lines, uv = setup(pyenv="exit 1")
    assert (status, len(lines)) == (pythons.NOT_HERE, 1)
    assert lines[0].startswith("setup: Python 3.99 is not on PATH")
    assert uv == ["python install 3.99"]


def test_a_python_that_does_not_run_is_passed_over_for_pyenv_s(setup, tmp_path):
    """pyenv's shims are on PATH for every version, and end with 127 for those that are not chosen."""
    prefix = tmp_path / "pyenv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python").write_text(f"#!/bin/sh\necho {prefix}/bin/python3.99\n")
    (prefix / "bin/python").chmod(0o755)
    status, lines, uv = setup(**{"python3.99": "exit 127", "pyenv": f"echo {prefix}"})
    assert (status, lines) == (0, [f"setup: making build/python-3.99 of {prefix}/bin/python3.99"])
    assert uv[0] == f"venv --clear --python {prefix}/bin/python3.99 build/python-3.99"
    assert "--require-hashes -r tools/lock/tests.txt" in uv[1]
