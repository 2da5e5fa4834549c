"""The kernel functions to attach to, as /proc/kallsyms names them.

The compiler may inline a static function, rename it or split it (``.isra.0``, ``.constprop.0``, ``.part.0``). Only
sk_prot_alloc can then be traced under another name: inetprobe does not need its arguments.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.model.inet_create import CREATE

KALLSYMS = Path("/proc/kallsyms")

#: The functions of the path.
PATH = (
    "__sys_socket", "__sys_socketpair", "__sys_socket_file",
    "inet_create", "sk_alloc", "sk_prot_alloc", "inet6_create", "__request_module",
)  # fmt: skip
#: Where a seccomp filter refuses a system call; traced where that is asked for.
SECCOMP = "__secure_computing"
#: What logs the threads that a seccomp filter kills; always traced, since little else calls it.
AUDIT_SECCOMP = "audit_seccomp"
#: The path cannot be traced without this one, nor without one of inet_create and inet6_create.
REQUIRED = ("sk_alloc",)
OPTIONAL = tuple(name for name in PATH if name not in REQUIRED)
#: The options without which the kernel is built without a function.
CONFIGURED = {
    "__sys_socket_file": "Linux 5.19",
    "inet_create": "CONFIG_INET",
    "inet6_create": "CONFIG_IPV6",
    "__request_module": "CONFIG_MODULES",
}

_LIMITS = {
    "__sys_socket": "a socket() that is refused outside inet_create is not seen",
    "__sys_socketpair": "a socketpair() that is refused outside inet_create is not seen",
    "__sys_socket_file": "a socket of io_uring that is refused outside inet_create is not seen",
    "inet_create": "there are no AF_INET calls to see",
    "inet6_create": "there are no AF_INET6 calls to see",
    "__request_module": "there are no module calls to see",
    "sk_prot_alloc": "no trace has a call of it, and accepted connections are neither counted nor traced",
}
_WITHOUT_ARGUMENTS = (
    "it is traced by a kprobe without its arguments, and accepted connections are neither counted nor traced"
)

_ADDRESS = re.compile(r"([0-9a-f]{1,16}) ")
_FUNCTION = re.compile(r" [tTwW] (\S+)")
# From arch/x86/kernel/vmlinux.lds.S.
_IMAGE = ("_text", "_end")
_SUFFIX = re.compile(r"\.(isra|constprop|part|cold|llvm|lto_priv)\b.*")
# What the compiler adds to the name of a whole function; with .part and .cold it is only a piece of one.
_WHOLE = re.compile(r"(\.(isra|constprop|llvm|lto_priv)\.\d+)+")


class Symbols:
    """The functions of the running kernel and its modules, by name.

    ``image``: the addresses of the kernel itself, which no module can have; empty where this kernel hides addresses.
    """

    def __init__(self, names: Iterable[str], image: range = range(0), of_modules: Iterable[str] = ()) -> None:
        self._own = tuple(names)
        self._names = frozenset((*self._own, *of_modules))
        self._suffixed = sorted({name for name in self._names if "." in name})
        self.image = image

    @classmethod
    def of_kernel(cls, path: Path = KALLSYMS) -> Symbols:
        """The functions of /proc/kallsyms. Raises HostError if it cannot be read."""
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise HostError(f"{path} cannot be read ({error.strerror}): run inetprobe as root") from None
        image = range(*(_address(text, name) for name in _IMAGE))
        modules = text.find("\t[")  # theirs come last, each with the module's name behind it
        end = len(text) if modules < 0 else text.rfind("\n", 0, modules) + 1
        return cls(_FUNCTION.findall(text, 0, end), image, _FUNCTION.findall(text, end))

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def copies(self, name: str) -> int:
        """How many functions of the kernel itself have this name: static ones may share it."""
        return self._own.count(name)

    def renamed(self, name: str) -> list[str]:
        """The names that the compiler gave ``name``, where it only added a suffix."""
        return [other for other in self._suffixed if other.startswith(f"{name}.") and _SUFFIX.sub("", other) == name]

    def has(self, function: str) -> bool:
        """Is ``function`` there, under its own name or one that the compiler gave it?"""
        return function in self or bool(self.renamed(function))

    @functools.cached_property
    def _prot_allocs(self) -> list[str]:
        name = "sk_prot_alloc"
        whole = [symbol for symbol in self.renamed(name) if _WHOLE.fullmatch(symbol, len(name))]
        return [name, *whole] if name in self else whole

    def symbol_of(self, function: str) -> str | None:
        """The symbol by which a function of the path is traced; None where it cannot be.

        That of sk_prot_alloc may have a suffix: then the compiler may have changed how it is called. There may be
        several copies of it, and the one that sk_alloc calls is not known: then it is not traced.
        """
        if function == "sk_prot_alloc":
            return self._prot_allocs[0] if len(self._prot_allocs) == 1 else None
        return function if function in self else None

    def nearest(self, name: str) -> list[str]:
        """Up to three functions whose names look most like ``name``."""
        # Comparing with all 100,000 names takes seconds; a typing error rarely hits every part of a name.
        parts = {part for part in name.split("_") if len(part) > 2} or {name}
        related = [other for other in self._names if any(part in other for part in parts)]
        return difflib.get_close_matches(name, related, n=3)

    def present(self) -> dict[str, str]:
        """The path's functions that can be traced on this kernel, each with its symbol.

        Raises HostError where sk_alloc, or both creates are missing.
        """
        symbols = {name: symbol for name in PATH if (symbol := self.symbol_of(name))}
        for names in (REQUIRED, tuple(CREATE.values())):
            if symbols.keys().isdisjoint(names):
                raise HostError(f"{'; '.join(map(self.absence, names))}: no socket can be traced")
        return symbols

    def limits(self) -> dict[str, str]:
        """A sentence for each of the path's functions that cannot be traced, or not in full."""
        limits = {}
        for name in OPTIONAL:
            symbol = self.symbol_of(name)
            if symbol != name:
                limits[name] = f"{self.absence(name)}: {_WITHOUT_ARGUMENTS if symbol else _LIMITS[name]}"
        return limits

    def absence(self, function: str) -> str:
        """What this kernel has in place of ``function``, and else why it lacks it."""
        renamed = self.renamed(function)
        if function in self:
            return f"this kernel has copies of {function} ({', '.join(renamed)})"
        if renamed:
            return f"this kernel has no {function}, but {' and '.join(renamed)}"
        return f"this kernel has no {function} ({CONFIGURED.get(function, 'the compiler inlined or renamed it')})"


def _address(text: str, name: str) -> int:
    """That of a symbol which is no module's; 0 without one."""
    end = text.find(f" {name}\n")
    found = _ADDRESS.match(text, text.rfind("\n", 0, end) + 1) if end >= 0 else None
    return int(found[1], 16) if found else 0
