"""Sizes as people write them."""

import pytest

from inetprobe.cli.options import parse_size
from inetprobe.errors import UsageError


@pytest.mark.parametrize(
    ("word", "size"),
    [("8388608", 1 << 23), ("8MiB", 1 << 23), ("1M", 1 << 20), ("64k", 1 << 16), ("512 KB", 1 << 19), ("1g", 1 << 30)],
)
def test_a_size(word, size):
    assert parse_size(word) == size


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("5000", "not a power of two: give 8192 or 4096"),
        ("3MiB", "not a power of two: give 4194304 or 2097152"),
        ("2K", "out of range"),
        ("2GiB", "out of range"),
        ("9999999999G", "out of range"),
        ("8 apples", "is not a size"),
        ("-1", "is not a size"),
        ("٨", "is not a size"),
    ],
)
def test_what_is_none(word, says):
    with pytest.raises(UsageError, match=says):
        parse_size(word)
