"""--also: kernel functions beyond the path's own; their calls are shown in the trace that makes them.

A word may stand for several: ``lsm`` for the functions by which the security modules of this kernel (LSMs) allow or
refuse a socket, ``descriptor`` for those that give it its descriptor and its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from inetprobe.base.errors import UsageError
from inetprobe.kernel.host.btf import Btf, Prototype
from inetprobe.kernel.host.kallsyms import PATH, SECCOMP, Symbols
from inetprobe.model.lsm import HOOKS
from inetprobe.record.layout import ALSO_MAX, FUNCTION_ALSO

#: In the place of a function, for those of ``model.lsm.HOOKS`` that this kernel has.
LSM = "lsm"
# By word; a kernel has some of each. Those of a descriptor are in fs/file.c (__alloc_fd() until 5.12) and net/socket.c:
# expand_files() is where a process waits that grows its table of descriptors and has threads.
_WORDS = {LSM: tuple(HOOKS), "descriptor": ("__alloc_fd", "alloc_fd", "expand_files", "sock_alloc_file")}
# It becomes part of a C program, so nothing but a C name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class AlsoFunction:
    """One function, the number its calls carry, and its prototype (None if BTF does not describe it)."""

    name: str
    number: int
    prototype: Prototype | None

    def entry(self, mechanism: str) -> str:
        """This function's entry in the list that bpf/inetprobe.bpf.c expands."""
        arguments, returns = (self.prototype.arguments, self.prototype.returns) if self.prototype else (0, "VOID")
        return f"X({self.name},{self.number},{mechanism.upper()},{arguments},{returns})"


def resolve(words: Iterable[str], symbols: Symbols, types: Btf) -> tuple[AlsoFunction, ...]:
    """The functions that ``--also`` names, in its order; those that are traced anyway are left out.

    Raises UsageError for more than ALSO_MAX, for __secure_computing, for a name that several functions have, or for a
    function this kernel lacks, with the most similar names, or has only under a name that the compiler made.
    """
    asked = [name for word in words for part in word.split(",") if (name := part.strip())]
    present = {word: [name for name in functions if name in symbols] for word, functions in _WORDS.items()}
    names = list(dict.fromkeys(name for word in asked for name in present.get(word, [word])))
    names = [name for name in names if name not in PATH or not symbols.symbol_of(name)]
    if len(names) > ALSO_MAX:
        raise UsageError(f"--also: {len(names)} functions: it takes at most {ALSO_MAX}")
    if SECCOMP in names:
        raise UsageError(f"--also: {SECCOMP} is over before the traced calls begin: trace it with --seccomp")
    for name in names:
        if not _NAME.fullmatch(name) or name not in symbols or name in PATH:
            raise UsageError(f"--also: this kernel has no function {name!r} to attach to: {_reason(name, symbols)}")
        if (copies := symbols.copies(name)) > 1:
            raise UsageError(
                f"--also: this kernel has {copies} functions {name!r}, and a probe would be on any one of them: "
                "name their caller instead"
            )
    return tuple(AlsoFunction(name, FUNCTION_ALSO + index, types.prototype(name)) for index, name in enumerate(names))


def _reason(name: str, symbols: Symbols) -> str:
    if name in symbols and "." in name:
        return "the compiler gave it that name, and may have changed how it is called"
    renamed = symbols.renamed(name)
    if renamed:
        return f"the compiler turned it into {' and '.join(renamed)}, and may have changed how it is called"
    if name in PATH:
        return "the compiler inlined it, or it is not built in"
    similar = symbols.nearest(name)
    return f"did you mean {' or '.join(similar)}?" if similar else "/proc/kallsyms lists its functions"
