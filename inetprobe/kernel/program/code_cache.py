"""Compiled programs, kept in files: compiling takes longer than all the rest of a start.

A file's name is a digest of everything that the code depends on. It is root's to be and nobody else's to write, since
what is in it goes into the kernel; whatever is wrong with it, the program is compiled anew.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from inetprobe.kernel.host.syscall import MapShape
from inetprobe.kernel.program.code import Compiled

#: The most files that stay: a change of options, or of the kernel, leaves the old ones unused.
MOST = 64
_FORMAT = 1
_SUFFIX = ".json"
_COMPILER = re.compile(r"/(?:libbcc|libLLVM|libclang)[^/]*$")


def key(folder: Path, flags: Sequence[str], maps: Path = Path("/proc/self/maps")) -> str:
    """A digest of the C files in ``folder``, the compiler's ``flags``, its libraries (those this process has mapped,
    as ``maps`` tells), the variables that bcc heeds and the kernel, whose version bcc compiles in. Raises OSError."""
    compiler = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if _COMPILER.search(line)}
    stats = [(path, Path(path).stat()) for path in sorted(compiler)]
    depends = [
        _FORMAT,
        [(str(path.relative_to(folder)), path.read_text()) for path in sorted(folder.rglob("*.[ch]"))],
        list(flags),
        [(path, found.st_size, found.st_mtime_ns) for path, found in stats],
        sorted(item for item in os.environ.items() if item[0].startswith("BCC_")),
        list(os.uname())[2:],
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def get(folder: Path, name: str, say: Callable[[str], None]) -> Compiled | None:
    """What ``put`` kept by that name, if it did; ``say`` is told why it is not to be used where it is there."""
    path = folder / f"{name}{_SUFFIX}"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                say(f"{path} is not used: others than its user may write it: compiling anew")
                return None
            digest, _, kept = file.read().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"{path} cannot be read ({error.strerror}): compiling anew")
        return None
    if digest.decode(errors="replace") != hashlib.sha256(kept).hexdigest():
        say(f"{path} is damaged: compiling anew")
        return None
    content = json.loads(kept)
    return Compiled(
        tuple(MapShape(*shape) for shape in content["maps"]),
        {name: base64.b64decode(code) for name, code in content["functions"].items()},
    )


def put(folder: Path, name: str, compiled: Compiled, say: Callable[[str], None]) -> None:
    """Keeps it, and of what is kept the newest ``MOST``; ``say`` is told why not where that cannot be."""
    functions = {name: base64.b64encode(code).decode() for name, code in compiled.functions.items()}
    kept = json.dumps({"maps": compiled.maps, "functions": functions}).encode()
    try:
        place = next(path for path in (folder, *folder.parents) if path.exists())
        # sudo may leave $HOME: the user would find root's files in it.
        if os.geteuid() == 0 and place.stat().st_uid != 0:
            say(f"the compiled program is not kept: {place} is not root's")
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For its user alone, and whole before it has its name.
        number, temporary = tempfile.mkstemp(prefix=".", dir=folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(hashlib.sha256(kept).hexdigest().encode() + b"\n" + kept)
            Path(temporary).replace(folder / f"{name}{_SUFFIX}")
        except OSError:
            Path(temporary).unlink()
            raise
        files = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-MOST]:
            path.unlink(missing_ok=True)
    except OSError as error:
        say(f"the compiled program is not kept in {folder}: {error.strerror}")
