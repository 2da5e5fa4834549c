"""A suite of Debian's bcc and Python, unpacked into the cache and not installed.

``python -m tests.support.debian_suite 3.14`` fetches the suite that has this Python, and prints its path.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import InetprobeError
from inetprobe.vm import debian

#: The suites, and the Python of each.
SUITES = {"bookworm": "3.11", "trixie": "3.13", "sid": "3.14"}
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_PYTHON = "usr/bin/python"


def python(suite, progress=lambda line: None) -> Path:
    """The suite's Python: a script that starts it by the suite's own dynamic loader, so that it finds the suite's
    libbcc and C library, whatever this system's are. Raises VmError."""
    folder = cache_folder() / "suites" / suite
    finish = partial(_write_python, folder, SUITES[suite])
    wanted = debian.PackageSet("Debian's bcc and Python", suite, _packages, _python, finish)
    return debian.ensure(wanted, folder, progress)


def _packages(apt) -> Sequence[str]:
    """libbcc, Python and what they depend on: apt knows of no package that is installed."""
    options = ("-q", "-y", "--no-install-recommends", "--print-uris")
    uris = debian.run(["apt-get", *apt.options, *options, "install", "libbpfcc", "python3"])
    return re.findall(r"^'\S+' ([^_]+)_", uris, re.MULTILINE)


def _python(folder) -> Path | None:
    return folder / _PYTHON if (folder / _PYTHON).is_file() else None


def _write_python(folder, version, unpacked) -> None:
    """The script, for packages that are ``unpacked`` and will be in ``folder``. Beside the interpreter, since Python
    looks for its modules from there."""
    loader = next(path for path in _LIBRARIES if (unpacked / path / "ld-linux-x86-64.so.2").exists())
    libraries = ":".join(f"{folder / path}" for path in _LIBRARIES)
    script = unpacked / _PYTHON
    script.write_text(
        f'#!/bin/sh\nexec {folder / loader}/ld-linux-x86-64.so.2 --argv0 "$0" --library-path {libraries} '
        f'{folder}/usr/bin/python{version} "$@"\n'
    )
    script.chmod(0o755)


if __name__ == "__main__":
    suites = [suite for suite, version in SUITES.items() if version == sys.argv[1]]
    if not suites:
        sys.exit(f"debian_suite: no suite of Debian has Python {sys.argv[1]}")
    try:
        print(python(suites[0], lambda line: print(f"debian_suite: {line}", file=sys.stderr)))
    except InetprobeError as error:
        sys.exit(f"debian_suite: {error}")
