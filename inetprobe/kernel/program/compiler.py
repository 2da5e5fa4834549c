"""The program's code: taken from ``code_cache``, or compiled by libbcc in a process of its own."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from inetprobe.base import packages
from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import HostError, InetprobeError
from inetprobe.kernel import libbcc
from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.program import code_cache, compiler_process, vm_compiler
from inetprobe.kernel.program.code_cache import Code
from inetprobe.kernel.program.log import compiler_error
from inetprobe.record.cheader import bpf_folder

_PROGRAM = "inetprobe.bpf.c"


def compiled(constants: Mapping[str, object], say: Say, whole_log: Say | None) -> Mapping[str, bytes]:
    """The code of each function of bpf/inetprobe.bpf.c, with ``constants`` as -D. ``whole_log`` takes every line of the
    compiler's.

    Raises HostError where there is no compiler, or the program does not compile.
    """
    defines = defines_of(constants)
    detail = whole_log or (lambda line: None)
    try:
        folder = cache_folder() / "bpf"
    except InetprobeError as error:
        detail(f"the compiled program is not cached: {error}")
        return compile_program(_text(), defines, whole_log).functions
    name = code_cache.key(bpf_folder(), defines)
    code = code_cache.get(folder, name, say)
    if code is None:
        code = compile_program(_text(), defines, whole_log)
        code_cache.put(folder, name, code, detail)
    return code.functions


def defines_of(constants: Mapping[str, object]) -> list[str]:
    """The compiler's -D of a program with these ``constants``."""
    return [f"-D{name}={value}" for name, value in constants.items()]


def _text() -> str:
    return (bpf_folder() / _PROGRAM).read_text()


def no_libbcc(error: str, root: Path = Path("/")) -> HostError:
    """What to do where libbcc cannot be loaded; ``error`` is the dynamic linker's."""
    path = libbcc.installed(root)
    if path is None:
        return HostError(f"there is no BCC, the compiler ({error})", packages.install("BCC", root=root))
    return HostError(
        f"this Python cannot load {path} ({error})",
        "install inetprobe with the system's own Python: /usr/bin/python3 -m venv",
    )


def compile_program(text: str, defines: Sequence[str], whole_log: Say | None, limit_s: float | None = None) -> Code:
    """Compiles the C program ``text`` now, in at most ``limit_s`` seconds. Raises HostError."""
    detail = whole_log or (lambda line: None)
    try:
        status, output, log = vm_compiler.ask(text, defines, detail) or compiler_process.run(text, defines, limit_s)
    except subprocess.TimeoutExpired:
        raise HostError(f"bcc's compiler was not done after {limit_s:g} s", "try it again on an idle machine") from None
    for line in log.splitlines():
        detail(line)
    if status == 0:
        written = json.loads(output)
        functions = {name: base64.b64decode(code) for name, code in written["functions"].items()}
        return Code(functions, tuple(map(tuple, written["libraries"])))
    if status == 2:
        raise no_libbcc(compiler_error(log))
    if status < 0:
        ended_by = signal.Signals(-status).name
        raise HostError(
            f"bcc's compiler ended by {ended_by}: {compiler_error(log) or 'it said nothing'}",
            "inetprobe trace -v shows all that it wrote",
        )
    raise HostError(
        f"inetprobe's BPF program does not compile: {compiler_error(log)}",
        "inetprobe trace -v shows the compiler's whole log",
    )
