"""`make test` leaves no folder of tests out."""

from tests.conftest import _APART
from tools.suites import IN_VMS, NATIVE

#: Not a part of `make test`: measurements, and what takes too long.
LEFT_OUT = {"bench", "soak"}


def test_every_folder_apart_is_in_a_suite():
    words = [word for command in (NATIVE | IN_VMS).values() for word in command]
    named = {word.removeprefix("tests/") for word in words if word.startswith("tests/") and not word.endswith(".py")}
    assert named == set(_APART) - LEFT_OUT
