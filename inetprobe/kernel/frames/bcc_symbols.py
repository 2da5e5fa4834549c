"""libbcc's symbol cache of one process or of the kernel (src/cc/bcc_syms.h)."""

from __future__ import annotations

import ctypes

#: bcc's process id of the kernel.
KERNEL = -1
_ALL_TYPES = 65535


class _Option(ctypes.Structure):
    """struct bcc_symbol_option."""

    _fields_ = (
        ("use_debug_file", ctypes.c_int),
        ("check_debug_file_crc", ctypes.c_int),
        ("lazy_symbolize", ctypes.c_int),
        ("use_symbol_type", ctypes.c_uint32),
    )


class _Symbol(ctypes.Structure):
    """struct bcc_symbol."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("demangle_name", ctypes.c_char_p),
        ("module", ctypes.c_char_p),
        ("offset", ctypes.c_uint64),
    )


class SymbolCache:
    """The symbols of a process, from its mapped files, or of the kernel, from /proc/kallsyms.

    Debug files are not read: a mapped file names its own, and if that is a FIFO, bcc would block on it.
    """

    def __init__(self, libbcc: ctypes.CDLL, pid: int) -> None:
        self._lib = libbcc
        self._pid = pid
        libbcc.bcc_symcache_new.restype = ctypes.c_void_p
        option = _Option(use_debug_file=0, check_debug_file_crc=0, lazy_symbolize=1, use_symbol_type=_ALL_TYPES)
        self._cache = ctypes.c_void_p(libbcc.bcc_symcache_new(ctypes.c_int(pid), ctypes.byref(option)))

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:
        """(name, offset in the function, file or module); without a name the offset in the file, without both the
        address."""
        symbol = _Symbol()
        resolve = self._lib.bcc_symcache_resolve if demangle else self._lib.bcc_symcache_resolve_no_demangle
        if resolve(self._cache, ctypes.c_uint64(addr), ctypes.byref(symbol)) < 0:
            return (None, symbol.offset, symbol.module) if symbol.module and symbol.offset else (None, addr, None)
        name = symbol.demangle_name if demangle else symbol.name
        if demangle:
            self._lib.bcc_symbol_free_demangle_name(ctypes.byref(symbol))
        return name, symbol.offset, symbol.module

    def free(self) -> None:
        """Frees its memory; to be called once."""
        self._lib.bcc_free_symcache(self._cache, ctypes.c_int(self._pid))
