"""--also: kernel functions beyond the path's own, each shown where an open trace calls it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inetprobe.base.errors import UsageError
from inetprobe.kernel.host.btf import Btf, Prototype
from inetprobe.kernel.host.kallsyms import OPTIONAL, REQUIRED, Symbols
from inetprobe.record.layout import ALSO_MAX, FUNCTION_ALSO

# What becomes part of a C program: nothing but a C name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class AlsoFunction:
    """One function, the number its calls carry, and its prototype (None where BTF does not describe it)."""

    name: str
    number: int
    prototype: Prototype | None

    def entry(self, mechanism: str) -> str:
        """Its line of the list that bpf/inetprobe.bpf.c expands."""
        arguments, returns = (self.prototype.arguments, self.prototype.returns) if self.prototype else (0, "VOID")
        return f"X({self.name},{self.number},{mechanism.upper()},{arguments},{returns})"


def resolve(words: Iterable[str], symbols: Symbols, types: Btf) -> tuple[AlsoFunction, ...]:
    """The functions that ``--also`` names, in its order; those traced anyway are left out.

    Raises UsageError for more than ALSO_MAX, or for one this kernel does not have, with the nearest that it has.
    """
    names = list(dict.fromkeys(name for word in words for part in word.split(",") if (name := part.strip())))
    names = [name for name in names if name not in (*REQUIRED, *OPTIONAL)]
    if len(names) > ALSO_MAX:
        raise UsageError(f"--also: {len(names)} functions: it takes at most {ALSO_MAX}")
    for name in names:
        if not _NAME.fullmatch(name) or name not in symbols:
            raise UsageError(f"--also: this kernel has no function {name!r} to attach to{_instead(name, symbols)}")
    return tuple(AlsoFunction(name, FUNCTION_ALSO + place, types.prototype(name)) for place, name in enumerate(names))


def _instead(name: str, symbols: Symbols) -> str:
    near: Sequence[str] = symbols.renamed(name) or symbols.nearest(name)
    return f": did you mean {' or '.join(near)}?" if near else ": /proc/kallsyms lists those it has"
