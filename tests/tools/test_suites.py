"""`make test` leaves no folder of tests out."""

from tests.conftest import _APART
from tests.support.paths import ROOT
from tools.suites import ALONE, HALF, SIDE_BY_SIDE

#: Not a part of `make test`: measurements, and what takes too long.
LEFT_OUT = {"bench", "soak"}


def test_every_folder_apart_is_in_a_suite():
    words = [word for command in (SIDE_BY_SIDE | ALONE).values() for word in command]
    named = {word.removeprefix("tests/") for word in words if word.startswith("tests/") and not word.endswith(".py")}
    assert named == set(_APART) - LEFT_OUT


def test_each_live_test_is_in_one_suite():
    first, second = (SIDE_BY_SIDE[name] for name in ("live 1", "live 2"))
    assert all((ROOT / file).exists() for file in HALF)
    assert {word for word in first if word.startswith("tests/")} == set(HALF)
    assert {word.removeprefix("--ignore=") for word in second if word.startswith("--ignore=")} == set(HALF)
    assert "live and not two_cpus" in first
    assert "live and not two_cpus" in second
    assert ALONE["live on two CPUs"][-3:] == ["-m", "live and two_cpus", "tests/live"]
