"""libbcc, which bcc's Python binding is made of too: a C compiler for BPF, and the names of addresses.

Run as a script, in a process of its own, it compiles: LLVM's memory, its messages and its crashes stay there. It
imports nothing of inetprobe's.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

_NAME = "libbcc.so.0"
# Of Fedora, openSUSE, Arch and Alpine; of Debian and Ubuntu; of a build by hand.
_FOLDERS = ("usr/lib*", "usr/lib/*", "usr/local/lib*")
_COMPILER = re.compile(r"/(?:libbcc|libLLVM|libclang)[^/]*$")
_VERSION = re.compile(r"/libbcc\.so\.(\d+\.\d+[^/]*)$")


def load() -> ctypes.CDLL:
    """The system's libbcc, or the one of the Python binding. Raises OSError where there is neither."""
    try:
        return ctypes.CDLL(_NAME, use_errno=True)
    except OSError:
        with contextlib.suppress(ImportError, AttributeError, OSError):  # PyPI's bcc is another package
            from bcc import libbcc  # a binding may bring a library of its own

            return cast(ctypes.CDLL, libbcc.lib)
        raise


def libraries(maps: Path = Path("/proc/self/maps")) -> list[tuple[str, int, int]]:
    """(path, size, modification time in ns) of libbcc and of LLVM's libraries, once ``load`` has mapped them.

    Raises OSError where one was replaced meanwhile.
    """
    paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if _COMPILER.search(line)}
    return [(path, status.st_size, status.st_mtime_ns) for path in sorted(paths) for status in (Path(path).stat(),)]


def version(paths: Iterable[str]) -> str | None:
    """The version of the libbcc among these libraries; None where its file's name does not tell."""
    names = [str(Path(path).resolve()) for path in paths]
    return next((match[1] for name in names if (match := _VERSION.search(name))), None)


def installed(root: Path = Path("/")) -> Path | None:
    """The system's libbcc, whether or not this Python can load it; None where there is none."""
    return next((path for pattern in _FOLDERS for path in sorted(root.glob(f"{pattern}/{_NAME}"))), None)


def _compile(text: str, flags: list[str]) -> dict[str, bytes]:
    """The instructions of each function of the C program ``text``. Raises OSError without libbcc, ValueError for a
    program that does not compile; the compiler has written why to descriptor 2.
    """
    lib = load()
    lib.bpf_module_create_c_from_string.restype = ctypes.c_void_p
    lib.bpf_num_functions.restype = lib.bpf_function_size.restype = ctypes.c_size_t
    lib.bpf_function_name.restype = ctypes.c_char_p
    lib.bpf_function_start.restype = ctypes.c_void_p
    arguments = (ctypes.c_char_p * len(flags))(*map(os.fsencode, flags))
    created = lib.bpf_module_create_c_from_string(text.encode(), 0, arguments, len(flags), False, None)
    if not created:
        raise ValueError
    module = ctypes.c_void_p(created)
    names = [lib.bpf_function_name(module, ctypes.c_size_t(n)) for n in range(lib.bpf_num_functions(module))]
    functions = {
        name.decode(): ctypes.string_at(lib.bpf_function_start(module, name), lib.bpf_function_size(module, name))
        for name in names
    }
    lib.bpf_module_destroy(module)
    return functions


def _main() -> int:
    """Reads {"text", "flags"} as JSON from stdin and writes {"functions", "libraries"}."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once, without a traceback
    task = json.load(sys.stdin)
    try:
        functions = _compile(task["text"], task["flags"])
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError:
        return 1
    coded = {name: base64.b64encode(code).decode() for name, code in functions.items()}
    json.dump({"functions": coded, "libraries": libraries()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
