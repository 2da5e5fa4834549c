"""Memory that compiling took and nothing needs afterwards: most of what bcc, with LLVM in it, makes of a process."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(/.*)$")


def give_back(smaps: Path = Path("/proc/self/smaps")) -> None:
    """Gives the kernel the heap that is free, and the pages of programs and libraries that nobody has written to: what
    is used again comes back from the file."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(ctypes.c_size_t(0))
    for start, end in clean_mappings(smaps.read_text()):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each private, unwritable mapping of a file of which every page is still the file's.

    Others would lose what was written: a library's relocations are in pages that are read-only by now.
    """
    found: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if match := _MAPPING.match(line):
            start, end, permissions, path = match.groups()
            private = permissions[1] != "w" and permissions[3] == "p" and not path.endswith(" (deleted)")
            found = (int(start, 16), int(end, 16)) if private else None
        elif not line[:1].isupper():
            found = None
        elif found is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield found
            found = None
