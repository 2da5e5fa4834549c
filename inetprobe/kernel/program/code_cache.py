"""Compiled programs, cached in files: compiling takes longer than the rest of a start.

A file's name is a digest of everything that the code depends on. A file must belong to this user and be writable by
nobody else, since its code is loaded into the kernel. If anything is wrong with it, the program is compiled again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.program.code import Compiled

#: The most files that are cached: a change of options, or of the kernel, leaves the old ones unused.
MAX_FILES = 64
_FORMAT = 1
_SUFFIX = ".json"
_COMPILER = re.compile(r"/(?:libbcc|libLLVM|libclang)[^/]*$")


def key(folder: Path, flags: Sequence[str], maps: Path = Path("/proc/self/maps")) -> str:
    """The digest that names a program: of the C files in ``folder``, the compiler's ``flags``, its libraries (those in
    ``maps``, this process's mappings), the environment variables that bcc reads, and the kernel, whose version bcc
    compiles in. Raises OSError.
    """
    compiler = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if _COMPILER.search(line)}
    stats = [(path, Path(path).stat()) for path in sorted(compiler)]
    depends = [
        _FORMAT,
        [(str(path.relative_to(folder)), path.read_text()) for path in sorted(folder.rglob("*.[ch]"))],
        list(flags),
        [(path, status.st_size, status.st_mtime_ns) for path, status in stats],
        sorted(item for item in os.environ.items() if item[0].startswith("BCC_")),
        list(os.uname())[2:],
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def get(folder: Path, name: str, say: Say) -> Compiled | None:
    """The program that ``put`` cached by this name, if any; a file that must not be used is reported by ``say``."""
    path = folder / f"{name}{_SUFFIX}"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                say(f"{path} is not used: other users may write to it: compiling again")
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
    return Compiled(
        tuple(MapShape(*shape) for shape in content["maps"]),
        {name: base64.b64decode(code) for name, code in content["functions"].items()},
    )


def put(folder: Path, name: str, compiled: Compiled, say: Say) -> None:
    """Caches a program, and deletes all but the newest ``MAX_FILES``; ``say`` reports why it cannot be cached."""
    functions = {name: base64.b64encode(code).decode() for name, code in compiled.functions.items()}
    cached = json.dumps({"maps": compiled.maps, "functions": functions}).encode()
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        # sudo may keep the user's $HOME, which must not get files of root.
        if os.geteuid() == 0 and nearest.stat().st_uid != 0:
            say(f"the compiled program is not cached: {nearest} is not root's")
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
