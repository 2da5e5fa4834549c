"""bcc's symbol cache of one process or of the kernel."""

from __future__ import annotations

from typing import Any

#: What bcc calls the kernel.
KERNEL = -1


class SymbolCache:
    """What ``bcc`` has read of a process's files and memory map, or of /proc/kallsyms."""

    def __init__(self, bcc: Any, pid: int) -> None:  # bcc has no types
        self._free = bcc.lib.bcc_free_symcache
        self._pid = pid
        self._cache = bcc.SymbolCache(pid)

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:  # as bcc's
        """(name, offset into it, file or module); without a name it is the file's offset, without both the address."""
        found: tuple[bytes | None, int, bytes | None] = self._cache.resolve(addr, demangle)
        return found

    def free(self) -> None:
        """Gives its memory back; to be called once."""
        self._free(self._cache.cache, self._pid)
