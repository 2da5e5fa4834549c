"""The kernel functions to attach to.

The compiler may inline a static function or rename it (``.isra.0``, ``.constprop.0``): a function is looked up in
/proc/kallsyms under its plain name, and a renamed one is reported.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from inetprobe.base.errors import HostError

KALLSYMS = Path("/proc/kallsyms")

#: The path cannot be traced without these.
REQUIRED = ("inet_create", "sk_alloc", "sk_prot_alloc")
#: A kernel may lack these: CONFIG_IPV6, CONFIG_MODULES.
OPTIONAL = ("inet6_create", "__request_module")

_TEXT = frozenset("tTwW")
# From arch/x86/kernel/vmlinux.lds.S.
_IMAGE = ("_text", "_end")
_SUFFIX = re.compile(r"\.(isra|constprop|part|cold|llvm|lto_priv)\b.*")


class Symbols:
    """The functions of the running kernel and its modules, by name.

    ``image``: the addresses of the kernel itself, which no module can have; empty where this kernel hides addresses.
    """

    def __init__(self, names: Iterable[str], image: range = range(0)) -> None:
        self._names = frozenset(names)
        self.image = image

    @classmethod
    def of_kernel(cls, path: Path = KALLSYMS) -> Symbols:
        """The functions of /proc/kallsyms. Raises HostError if it cannot be read."""
        names, ends = set(), {}
        try:
            with path.open(encoding="ascii", errors="replace") as lines:
                for line in lines:
                    address, type_, name, *module = line.split()
                    if type_ in _TEXT:
                        names.add(name)
                    if name in _IMAGE and not module:
                        ends[name] = int(address, 16)
        except OSError as error:
            raise HostError(f"{path} cannot be read ({error.strerror}): run inetprobe as root") from None
        return cls(names, range(ends.get(_IMAGE[0], 0), ends.get(_IMAGE[1], 0)))

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def renamed(self, name: str) -> list[str]:
        """The names that the compiler gave ``name``, where it only added a suffix."""
        return sorted(other for other in self._names if other != name and _SUFFIX.sub("", other) == name)

    def nearest(self, name: str) -> list[str]:
        """Up to three functions whose names look most like ``name``."""
        # Comparing with all 100,000 names takes seconds; a typing error rarely hits every part of a name.
        parts = {part for part in name.split("_") if len(part) > 2} or {name}
        related = [other for other in self._names if any(part in other for part in parts)]
        return difflib.get_close_matches(name, related, n=3)

    def present(self) -> tuple[str, ...]:
        """The path's functions this kernel has. Raises HostError naming the first required one that is missing."""
        for name in REQUIRED:
            if name not in self._names:
                renamed = self.renamed(name)
                reason = f"it has {', '.join(renamed)} instead" if renamed else "it was inlined or renamed"
                raise HostError(f"this kernel has no function {name} to attach to: {reason}")
        return tuple(name for name in (*REQUIRED, *OPTIONAL) if name in self._names)
