"""Gives back the memory that compiling took: most of the resident size of a process with bcc, and LLVM in it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(/.*)$")


def give_back(smaps: Path = Path("/proc/self/smaps")) -> None:
    """Gives the kernel the free heap, and the unwritten pages of programs and libraries: a page that is used again is
    read from its file."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(ctypes.c_size_t(0))
    for start, end in clean_mappings(smaps.read_text()):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each private, unwritable mapping of a file whose every page is still the file's.

    Other mappings would lose writes: a library's relocations are in pages that have become read-only.
    """
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if match := _MAPPING.match(line):
            start, end, permissions, path = match.groups()
            private = permissions[1] != "w" and permissions[3] == "p" and not path.endswith(" (deleted)")
            mapping = (int(start, 16), int(end, 16)) if private else None
        elif not line[:1].isupper():
            mapping = None
        elif mapping is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield mapping
            mapping = None
