"""bcc's symbol cache of one process or of the kernel."""

from __future__ import annotations

import ctypes
from typing import Any

#: What bcc calls the kernel.
KERNEL = -1
# BCC_SYM_ALL_TYPES of src/cc/bcc_syms.h.
_ALL_TYPES = 65535


class SymbolCache:
    """What ``bcc`` has read of a process's files and memory map, or of /proc/kallsyms.

    Of the files that are mapped alone: which debug file goes with one says the file itself, and where a stranger's
    names a FIFO, bcc would wait for it.
    """

    def __init__(self, bcc: Any, pid: int) -> None:  # bcc has no types
        self._lib = bcc.lib
        self._pid = pid
        self._cache = bcc.SymbolCache.__new__(bcc.SymbolCache)  # its __init__ would take no options
        # use_debug_file, check_debug_file_crc, lazy_symbolize, use_symbol_type
        options = bcc.bcc_symbol_option(0, 0, 1, _ALL_TYPES)
        self._cache.cache = self._lib.bcc_symcache_new(pid, ctypes.byref(options))

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:
        """(name, offset into it, file or module); without a name it is the file's offset, without both the address."""
        found: tuple[bytes | None, int, bytes | None] = self._cache.resolve(addr, demangle)
        return found

    def free(self) -> None:
        """Gives its memory back; to be called once."""
        self._lib.bcc_free_symcache(self._cache.cache, self._pid)
