"""The program's code: taken from ``code_cache``, or compiled by libbcc in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import HostError
from inetprobe.kernel import libbcc
from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.program import code_cache
from inetprobe.kernel.program.code_cache import Code
from inetprobe.kernel.program.log import compiler_error
from inetprobe.record.cheader import bpf_folder

_PROGRAM = "inetprobe.bpf.c"
#: What to do where libbcc is missing.
NO_LIBBCC = "install the distribution's bcc (Debian: apt install libbpfcc)"


def compiled(constants: Mapping[str, object], say: Say, whole_log: Say | None) -> Mapping[str, bytes]:
    """The code of each function of bpf/inetprobe.bpf.c, with ``constants`` as -D. ``whole_log`` takes every line of the
    compiler's.

    Raises HostError where there is no compiler, or the program does not compile.
    """
    flags = flags_of(constants)
    detail = whole_log or (lambda line: None)
    try:
        folder = cache_folder() / "bpf"
    except RuntimeError as error:  # there is no home folder
        detail(f"the compiled program is not cached: {error}")
        return compile_program(_text(), flags, whole_log).functions
    name = code_cache.key(bpf_folder(), flags)
    code = code_cache.get(folder, name, say)
    if code is None:
        code = compile_program(_text(), flags, whole_log)
        code_cache.put(folder, name, code, detail)
    return code.functions


def flags_of(constants: Mapping[str, object]) -> list[str]:
    """The compiler's flags of a program with these ``constants``."""
    return [f"-I{bpf_folder()}", "-Wno-macro-redefined", *(f"-D{name}={value}" for name, value in constants.items())]


def _text() -> str:
    return (bpf_folder() / _PROGRAM).read_text()


def compile_program(text: str, flags: Sequence[str], whole_log: Say | None) -> Code:
    """Compiles the C program ``text`` now. Raises HostError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BCC_")}
    environment["BCC_KERNEL_SOURCE"] = str(bpf_folder())  # our stub headers in the place of the kernel's own
    done = subprocess.run(
        [sys.executable, "-I", libbcc.__file__],
        input=json.dumps({"text": text, "flags": list(flags)}).encode(),
        env=environment,
        capture_output=True,
        check=False,
    )
    log = done.stderr.decode(errors="replace")
    if whole_log is not None:
        for line in log.splitlines():
            whole_log(line)
    if done.returncode == 0:
        written = json.loads(done.stdout)
        functions = {name: base64.b64decode(code) for name, code in written["functions"].items()}
        return Code(functions, tuple(map(tuple, written["libraries"])))
    if done.returncode == 2:
        raise HostError(f"there is no compiler: {compiler_error(log)}: {NO_LIBBCC}")
    if done.returncode < 0:
        ended_by = signal.Signals(-done.returncode).name
        raise HostError(
            f"bcc's compiler ended by {ended_by}: {compiler_error(log) or 'it said nothing'}: "
            "-v shows all that it wrote, and inetprobe doctor the version of bcc"
        )
    raise HostError(
        f"inetprobe's BPF program does not compile: {compiler_error(log)}: "
        "-v shows the compiler's whole log, and inetprobe doctor the version of bcc"
    )
