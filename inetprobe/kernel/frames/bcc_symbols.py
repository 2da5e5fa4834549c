"""bcc's symbol cache of one process or of the kernel."""

from __future__ import annotations

import ctypes
from typing import Any

#: bcc's process id of the kernel.
KERNEL = -1
# BCC_SYM_ALL_TYPES of src/cc/bcc_syms.h.
_ALL_TYPES = 65535


class SymbolCache:
    """bcc's symbols of a process, from its mapped files, or of the kernel, from /proc/kallsyms.

    Debug files are not read: a mapped file names its own, and if that is a FIFO, bcc would block on it.
    """

    def __init__(self, bcc: Any, pid: int) -> None:  # bcc has no types
        self._lib = bcc.lib
        self._pid = pid
        self._cache = bcc.SymbolCache.__new__(bcc.SymbolCache)  # its __init__ takes no options
        # use_debug_file, check_debug_file_crc, lazy_symbolize, use_symbol_type
        options = bcc.bcc_symbol_option(0, 0, 1, _ALL_TYPES)
        self._cache.cache = self._lib.bcc_symcache_new(pid, ctypes.byref(options))

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:
        """(name, offset in the function, file or module); without a name the offset in the file, without both the
        address."""
        symbol: tuple[bytes | None, int, bytes | None] = self._cache.resolve(addr, demangle)
        return symbol

    def free(self) -> None:
        """Frees its memory; to be called once."""
        self._lib.bcc_free_symcache(self._cache.cache, self._pid)
