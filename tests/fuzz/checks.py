"""What holds for every target: which errors a user may see, and what a terminal may be sent."""

import atexit
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from inetprobe.base.errors import InetprobeError
from inetprobe.base.text import printable

_MOST = 1000  # characters of an error


@contextmanager
def may_refuse():
    """Suppresses InetprobeError. Raises AssertionError for one that is no short sentence."""
    try:
        yield
    except InetprobeError as error:
        is_sentence(str(error))


def is_sentence(text):
    assert text, "an error without a word"
    assert "\n" not in text, text
    assert len(text) < _MOST, f"an error of {len(text):,} characters: {text[:200]}"


def is_shown(text):
    """``text`` is for a terminal as it is."""
    assert text.replace("\n", "").isprintable(), f"a terminal would be sent {text!r}"


def can_be_shown(text):
    """``text`` is for a terminal once it went through ``printable``, and can be encoded."""
    printable(text).encode()


def folder_in_memory():
    """A folder for files that are written for each input; it is gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="inetprobe-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder)
    return folder


@contextmanager
def in_memory(data=b"", name="input"):
    """A file without a disk, by its path."""
    number = os.memfd_create(name)
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(data)
        yield Path(f"/proc/self/fd/{number}")
    finally:
        os.close(number)
