"""Compiles the program with bcc, or takes it from ``code_cache``. The only module that imports bcc."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import HostError
from inetprobe.kernel.program import code_cache
from inetprobe.kernel.program.code import Compiled
from inetprobe.kernel.program.log import captured_stderr, telling
from inetprobe.record.cheader import bpf_folder

_PROGRAM = "inetprobe.bpf.c"


def compiled(
    bcc: Any,  # it has no types
    constants: Mapping[str, object],
    map_constants: Mapping[str, object],
    maps: Sequence[int],
    say: Callable[[str], None],
    whole_log: Callable[[str], None] | None,
) -> Compiled:
    """bpf/inetprobe.bpf.c with ``constants`` and ``map_constants`` as -D; the latter hold the descriptors of ``maps``,
    which differ at every start. ``whole_log`` takes every line of the compiler's.

    Raises HostError where it does not compile, OSError where the kernel does not describe a map.
    """
    flags = [f"-I{bpf_folder()}", "-Wno-macro-redefined", *_defines(constants)]
    all_flags = [*flags, *_defines(map_constants)]
    detail = whole_log or (lambda line: None)
    try:
        folder, name = cache_folder() / "bpf", code_cache.key(bpf_folder(), flags)
    except (OSError, RuntimeError) as error:  # a library was replaced after it was loaded; or there is no home folder
        detail(f"the compiled program is not cached: {error}")
        return _compile(bcc, all_flags, maps, whole_log)
    program = code_cache.get(folder, name, say)
    if program is None:
        program = _compile(bcc, all_flags, maps, whole_log)
        code_cache.put(folder, name, program, detail)
    return program


def _compile(bcc: Any, flags: list[str], maps: Sequence[int], whole_log: Callable[[str], None] | None) -> Compiled:
    with captured_stderr(whole_log) as log:
        try:
            bpf = deferred(bcc.BPF)(text=(bpf_folder() / _PROGRAM).read_bytes(), cflags=flags)
        except Exception as error:  # bcc raises no narrower type
            raise HostError(
                f"inetprobe's BPF program does not compile: {telling(log() or str(error))}: "
                "-v shows the compiler's whole log, and inetprobe doctor the version of bcc"
            ) from error
    try:
        return Compiled.of_bcc(bcc.lib, bpf.module, maps)
    finally:
        bpf.cleanup()


def _defines(constants: Mapping[str, object]) -> list[str]:
    return [f"-D{name}={value}" for name, value in constants.items()]


def deferred(base: Any) -> Any:
    """bcc's BPF class without its habit of attaching every program it knows by name as soon as it is compiled."""

    class Deferred(base):  # type: ignore[misc]  # bcc has no types
        def _trace_autoload(self) -> None:
            pass

    return Deferred


class BccError(HostError):
    """bcc cannot be used: the ``finding`` and its ``fix``."""

    def __init__(self, finding: str, fix: str) -> None:
        super().__init__(f"{finding}: {fix}")
        self.finding = finding
        self.fix = fix


def import_bcc() -> Any:
    """The bcc module, with its ``lib`` and ``version``, set to use our headers. Raises BccError if it is missing."""
    # bcc reads this when it compiles: our stub headers replace the kernel's own.
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_folder())
    try:
        import bcc
        from bcc import libbcc
    except (ImportError, OSError) as error:
        raise BccError(
            f"bcc cannot be imported ({error})",
            "install the distribution's package (Debian: apt install python3-bpfcc)",
        ) from None
    if not hasattr(bcc, "BPF"):
        raise BccError(
            "Python finds another bcc than the BPF Compiler Collection", "remove PyPI's bcc and install python3-bpfcc"
        )
    bcc.lib = libbcc.lib
    bcc.version = str(getattr(bcc, "__version__", "of unknown version"))
    return bcc
