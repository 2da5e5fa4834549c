import pytest

from inetprobe.base.words import by_reason, counted, did_you_mean, duration, listed, quoted


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "?"), (7, "7ns"), (1500, "1.5µs"), (999_600, "1000µs"), (656_100_000, "656ms"), (2 * 10**9, "2.00s")],
)
def test_a_duration_has_three_digits_and_a_unit(ns, text):
    assert duration(ns) == text


def test_counts():
    assert [counted(number, "socket") for number in (0, 1, 1234)] == ["0 sockets", "1 socket", "1,234 sockets"]
    assert by_reason({"no_state": 3, "ring_full": 1200}) == "ring_full 1,200, no_state 3"


def test_a_list():
    assert [listed("abc"[:n], "and") for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_a_mistyped_word_gets_the_closest_known_ones():
    assert did_you_mean("stram", ["stream", "dgram"], "give a type") == "did you mean stream?"
    assert did_you_mean("p98", ["p99", "p95"], "", most=2) == "did you mean p99 or p95?"
    assert did_you_mean("tpc", {"tcp": "IPPROTO_TCP"}, "") == "did you mean IPPROTO_TCP?"
    assert did_you_mean("x", ["stream"], "give a type") == "give a type"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"), (7, "7"), (True, "True"), (1.5, "1.5"), ([1], "[1]"),
        ("x" * 99, f"'{'x' * 60}…'"), (["x" * 99], f"['{'x' * 58}…"), (1 << 9999, "a number of 10,000 bits"),
    ],
)  # fmt: skip
def test_a_quotation_is_short(value, text):
    assert quoted(value) == text


def test_what_is_deep_or_in_itself_is_quoted():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    itself = {}
    itself["a"] = itself
    assert quoted(deep) == "[[[[...]]]]"
    assert quoted(itself) == "{'a': {'a': {'a': {...}}}}"
    while deep:
        (deep,) = deep
