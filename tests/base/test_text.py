from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.text import decode, encode, printable


@given(st.binary(max_size=16))
def test_decode_loses_nothing(raw):
    assert encode(decode(raw)) == raw


@given(st.binary(max_size=16), st.binary(max_size=16))
def test_two_names_never_look_the_same_on_a_terminal(one, other):
    assert (printable(decode(one)) == printable(decode(other))) == (one == other)


@given(st.binary(max_size=16))
def test_nothing_reaches_a_terminal_but_visible_characters(raw):
    assert printable(decode(raw)).isprintable()


def test_plain_names_stay_plain():
    assert printable(decode("müller-8".encode())) == "müller-8"
