"""The bounds of histograms: the defaults, and those of --buckets."""

import pytest

from inetprobe.base.errors import UsageError
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS, MAX_BOUNDS, parse_bounds


def test_the_default_goes_from_below_a_microsecond_to_tens_of_seconds():
    assert len(DEFAULT_BOUNDS_NS) == MAX_BOUNDS == 14
    assert list(DEFAULT_BOUNDS_NS) == sorted(set(DEFAULT_BOUNDS_NS))
    assert DEFAULT_BOUNDS_NS[0] < 1000
    assert DEFAULT_BOUNDS_NS[-1] >= 10 * 10**9


def test_units_and_spaces():
    assert parse_bounds("500ns, 1us,2.5ms,1s,1m") == (500, 1000, 2_500_000, 10**9, 60 * 10**9)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "'' is not a duration"),
        ("1us,fast", "'fast' is not a duration"),
        ("1us,1us", "'1us' does not exceed the bound before it"),
        ("5us,1us", "'1us' does not exceed the bound before it"),
        ("0ns,1us", "less than a nanosecond"),
        ("-1us", "not a duration"),
        (",".join(f"{n}us" for n in range(1, 16)), "has 15 bounds: give at most 14"),
        ("1e9999999s", "not a duration"),
        ("99999999999999s", "too long"),
    ],
)
def test_bad_bounds_are_one_sentence(words, says):
    with pytest.raises(UsageError, match=r"^--buckets") as error:
        parse_bounds(words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
