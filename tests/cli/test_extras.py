"""A command whose optional package is not installed says how to get it."""

import subprocess
import sys
import tomllib

import pytest

from inetprobe.cli.extras import EXTRAS
from tests.support import recorded
from tests.support.paths import ROOT

#: Of each extra a command line that needs it.
NEEDING = {
    "export": ("export", "{file}", "--to", "perfetto", "-o", "{out}"),
    "query": ("query", "{file}", "--ask", "failures"),
    "report": ("report", "{file}", "-o", "{out}"),
    "serve": ("serve", "--replay", "{file}", "--once"),
    "top": ("top", "--replay", "{file}"),
}
#: inetprobe where modules, given as a list, cannot be found, on what looks like a terminal.
PROGRAM = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import os
os.environ["TERM"] = "xterm"
for stream in (sys.stdin, sys.stdout, sys.stderr):
    stream.isatty = lambda: True
from inetprobe.cli.main import main
main()
"""


def run(modules, *argv):
    program = PROGRAM.replace("MODULES", repr(modules))
    return subprocess.run(
        [sys.executable, "-c", program, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def words(extra, tmp_path):
    file = recorded.every_kind(tmp_path / "r.arrows")
    return [word.format(file=file, out=tmp_path / "out") for word in NEEDING[extra]]


@pytest.mark.parametrize(("extra", "module"), [(extra, module) for extra in EXTRAS for module in EXTRAS[extra][:1]])
def test_a_missing_package_is_one_sentence(extra, module, tmp_path):
    done = run([module], *words(extra, tmp_path))
    assert (
        done.stderr
        == f"inetprobe: inetprobe {extra} needs the Python package {module}: pip install 'inetprobe[{extra}]'\n"
    )
    assert done.returncode == 125


@pytest.mark.parametrize(
    "argv",
    [("replay", "{file}"), ("check", "{file}"), ("export", "{file}", "--to", "folded"), ("explain", "--type", "raw")],
)
def test_what_needs_no_extra_runs_without_any(argv, tmp_path):
    file = recorded.every_kind(tmp_path / "r.arrows")
    done = run(
        [module for modules in EXTRAS.values() for module in modules], *(word.format(file=file) for word in argv)
    )
    assert "ModuleNotFoundError" not in done.stderr
    assert done.returncode in (0, 1), done.stderr


def test_every_extra_of_a_command_is_in_the_table():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"vm", "all", "dev", "fuzz", "mutants", "build"}
    names = {"yaml": "pyyaml", "prometheus_client": "prometheus-client"}
    for extra, modules in EXTRAS.items():
        wanted = {word.partition(">")[0] for word in extras[extra]}
        assert wanted <= {names.get(module, module) for module in modules}
