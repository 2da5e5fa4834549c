"""libbcc in a process of its own, which compiles one program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from inetprobe.kernel import libbcc
from inetprobe.record.cheader import bpf_folder


class Compiled(NamedTuple):
    """The process's exit status, negative for a signal; its ``output``, JSON where ``status`` is 0; and its ``log``."""

    status: int
    output: str
    log: str


def run(text: str, defines: Sequence[str], limit_s: float | None = None) -> Compiled:
    """Compiles the C program ``text`` with these -D. Raises subprocess.TimeoutExpired after ``limit_s`` seconds."""
    flags = [f"-I{bpf_folder()}", "-Wno-macro-redefined", *defines]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BCC_")}
    environment["BCC_KERNEL_SOURCE"] = str(bpf_folder())  # our stub headers in the place of the kernel's own
    done = subprocess.run(
        [sys.executable, "-I", libbcc.__file__],
        input=json.dumps({"text": text, "flags": flags}).encode(),
        env=environment,
        capture_output=True,
        check=False,
        timeout=limit_s,
    )
    return Compiled(done.returncode, *(stream.decode(errors="replace") for stream in (done.stdout, done.stderr)))
