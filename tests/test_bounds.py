"""The lower bounds of pyproject.toml are versions that the tests ran with: those of build/lowest."""

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(lines):
    """Those of ``lines``, and of the extras of inetprobe itself that they name."""
    for one in map(Requirement, lines):
        if one.name != PROJECT["name"]:
            yield one
        for extra in sorted(one.extras) if one.name == PROJECT["name"] else ():
            yield from requirements(PROJECT["optional-dependencies"][extra])


NEEDED = [*requirements(PROJECT["dependencies"]), *requirements(PROJECT["optional-dependencies"]["dev"])]


def test_every_requirement_has_a_lower_bound_alone():
    assert [str(one) for one in NEEDED if [each.operator for each in one.specifier] != [">="]] == []


@pytest.mark.skipif(Path(sys.prefix).name != "lowest", reason="make check-lowest installs the lowest versions")
def test_the_lower_bounds_are_what_is_installed():
    bounds = {one.name: Version(bound.version) for one in NEEDED for bound in one.specifier}
    assert bounds == {name: Version(version(name)) for name in bounds}
