"""Compiled programs, cached in files: compiling takes longer than the rest of a start.

A file's name is a digest of everything that the code depends on but the compiler, whose files are named in it. A file
must belong to this user, and nobody else may write to it or replace it, since its code is loaded into the kernel. If
anything is wrong with it, the program is compiled again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base import cache
from inetprobe.base.trust import distrust
from inetprobe.kernel.callbacks import Say

#: The most files that are cached: a change of options, or of the kernel, leaves the old ones unused.
MAX_FILES = 64
_FORMAT = 2
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Code:
    """The code of each function, which refers to a map by its index in bpf/maps.h, and the compiler's libraries: each
    one's path, size and modification time in ns."""

    functions: Mapping[str, bytes]
    libraries: tuple[tuple[str, int, int], ...]

    @property
    def is_current(self) -> bool:
        """Are the compiler's libraries still these?"""
        try:
            statuses = [(path, Path(path).stat()) for path, _, _ in self.libraries]
        except OSError:
            return False
        return self.libraries == tuple((path, status.st_size, status.st_mtime_ns) for path, status in statuses)


def key(folder: Path, defines: Sequence[str]) -> str:
    """The digest that names a program: of the C files in ``folder`` and of the compiler's -D. Raises OSError."""
    sources = [(str(path.relative_to(folder)), path.read_text()) for path in sorted(folder.rglob("*.[ch]"))]
    return hashlib.sha256(json.dumps([_FORMAT, sources, list(defines)]).encode()).hexdigest()


def get(folder: Path, name: str, say: Say) -> Code | None:
    """The program that ``put`` cached by this name, if any; a file that must not be used is reported by ``say``."""
    path = folder / f"{name}{_SUFFIX}"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                say(f"{path} is not used: other users may write to it: compiling again")
                return None
            if (why := distrust(folder)) is not None:  # they could give another program this name
                say(f"{path} is not used: {why}: compiling again")
                return None
            digest, _, cached = file.read().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"{path} cannot be read ({error.strerror}): compiling again")
        return None
    if digest.decode(errors="replace") != hashlib.sha256(cached).hexdigest():
        say(f"{path} is damaged: compiling again")
        return None
    content = json.loads(cached)
    functions = {name: base64.b64decode(code) for name, code in content["functions"].items()}
    code = Code(functions, tuple(map(tuple, content["libraries"])))
    return code if code.is_current else None


def put(folder: Path, name: str, code: Code, say: Say) -> None:
    """Caches a program, and deletes all but the newest ``MAX_FILES``; ``say`` reports why it cannot be cached."""
    functions = {name: base64.b64encode(text).decode() for name, text in code.functions.items()}
    cached = json.dumps({"functions": functions, "libraries": code.libraries}).encode()
    try:
        if (why := cache.create(folder)) is not None:
            say(f"the compiled program is not cached: {why}")
            return
        # Readable by its user alone, and complete before it has its name.
        fd, temporary = tempfile.mkstemp(prefix=".", dir=folder)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(hashlib.sha256(cached).hexdigest().encode() + b"\n" + cached)
            Path(temporary).replace(folder / f"{name}{_SUFFIX}")
        except OSError:
            Path(temporary).unlink()
            raise
        files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-MAX_FILES]:
            path.unlink(missing_ok=True)
    except OSError as error:
        say(f"the compiled program is not cached in {folder}: {error.strerror}")
