import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.text import decode, encode, is_plain, printable


@given(st.binary(max_size=16))
def test_decode_loses_nothing(raw):
    assert encode(decode(raw)) == raw


@given(st.binary(max_size=16), st.binary(max_size=16))
def test_two_names_never_look_the_same_on_a_terminal(one, other):
    assert (printable(decode(one)) == printable(decode(other))) == (one == other)


@given(st.binary(max_size=16))
def test_nothing_reaches_a_terminal_but_visible_characters(raw):
    assert all(map(is_plain, printable(decode(raw))))


def test_plain_names_stay_plain():
    assert printable(decode("müller-8".encode())) == "müller-8"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ssh\u3164d", r"ssh\u3164d"),
        ("ssh\ufe0fd", r"ssh\ufe0fd"),
        ("ssh\U000e0100d", r"ssh\U000e0100d"),
        ("\u2800sshd", r"\u2800sshd"),
        ("\u05d0 12", r"\u05d0 12"),
        ("1\u06272", r"1\u06272"),
        ("\u0661", r"\u0661"),
        ("\u202esshd", r"\u202esshd"),
    ],
)
def test_a_character_that_is_invisible_or_reorders_is_escaped(name, shown):
    assert printable(name) == shown


def test_letters_of_other_scripts_stay_although_some_look_alike():
    for name in ("müller-8", "\u0430дмин", "数据库", "データ", "ΑΒΓ", "हिन्दी", "ไทย", "👍"):  # \u0430 is Cyrillic
        assert printable(name) == name


def test_no_character_of_another_direction_is_plain():
    directions = {unicodedata.bidirectional(chr(code)) for code in range(sys.maxunicode + 1) if is_plain(chr(code))}
    assert directions <= {"L", "EN", "ES", "ET", "CS", "NSM", "ON", "WS"}


def test_nothing_that_unicode_ignores_is_plain():
    """Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, of which Python has no table."""
    single = (0xAD, 0x34F, 0x61C, 0x3164, 0xFEFF, 0xFFA0)
    ranges = (
        (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
        (0xFE00, 0xFE0F), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )  # fmt: skip
    ignored = {*single, *(code for first, last in ranges for code in range(first, last + 1))}
    assert not any(is_plain(chr(code)) for code in ignored)
