"""`make test` leaves no test out."""

from tests.conftest import _APART
from tests.support.paths import ROOT, TESTS
from tools.suites import SUITES

#: Not a part of `make test`: measurements, and what takes too long.
LEFT_OUT = {"bench", "soak"}


def named():
    return [word for command in SUITES.values() for word in command if word.startswith("tests/")]


def test_every_live_test_is_in_one_suite():
    files = [word for word in named() if word.startswith("tests/live/")]
    assert sorted(files) == sorted(str(path.relative_to(ROOT)) for path in (TESTS / "live").glob("test_*.py"))


def test_every_other_folder_apart_is_in_a_suite():
    assert {word.removeprefix("tests/") for word in named() if word.count("/") == 1} == set(_APART) - LEFT_OUT - {
        "live"
    }
