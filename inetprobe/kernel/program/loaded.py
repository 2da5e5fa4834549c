"""The program in the kernel: its functions, loaded one by one, with the maps and kernel functions that they name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.syscall import ProgramType
from inetprobe.kernel.program.log import verifier_error
from inetprobe.record.cheader import bpf_folder, parse_defines

# struct bpf_insn of include/uapi/linux/bpf.h; ``registers`` has four bits for each of the two.
_INSN = np.dtype([("code", "u1"), ("registers", "u1"), ("off", "<i2"), ("imm", "<i4")])
# BPF_LD | BPF_IMM | BPF_DW, whose source register is BPF_PSEUDO_MAP_FD or _VALUE where `imm` names a map.
_LOAD_IMM64 = 0x18
_MAP_SOURCES = (1, 2)
# BPF_JMP | BPF_CALL: of a helper, and with BPF_PSEUDO_KFUNC_CALL as its source register of a kernel function.
_CALL, _KFUNC_SOURCE = 0x85, 2
_KFUNCS = parse_defines((bpf_folder() / "helpers.h").read_text())["KFUNCS"]


class LoadError(InetprobeError):
    """The kernel, or BTF, refused one function."""


class Loaded:
    """The descriptors of the loaded ``functions``, by name. Not thread-safe."""

    def __init__(
        self, code: Mapping[str, bytes], maps: Mapping[int, int], kfuncs: Sequence[int], whole_log: Say | None
    ) -> None:
        """``code``: each function's, which names a map or a kernel function (``KFUNC`` of bpf/helpers.h) by its index.
        ``maps``: their descriptors by index, which must stay open until the functions are loaded. ``kfuncs``: their ids
        in the kernel's BTF by index. ``whole_log`` takes every line of the verifier's log of a function that is
        refused.
        """
        self._code = code
        self._maps = maps
        self._kfuncs = kfuncs
        self._whole_log = whole_log
        self.functions: dict[str, int] = {}

    def load(self, name: str, type_: ProgramType, btf_id: int = 0) -> int:
        """The descriptor of the function ``name``, loaded at the first call; ``btf_id``: the kernel's function that a
        tracing program is for. Raises LoadError."""
        if name not in self.functions:
            try:
                self.functions[name] = syscall.load_program(type_, name, self._linked(name), btf_id)
            except syscall.ProgramRefused as error:
                if self._whole_log is not None:
                    for line in error.log.splitlines():
                        self._whole_log(line)
                raise LoadError(f"{name}: {verifier_error(error.log) or error.strerror}") from None
        return self.functions[name]

    def _linked(self, name: str) -> bytes:
        code = np.frombuffer(self._code[name], _INSN).copy()
        # The second half of a 64-bit constant may have any imm, but its code is 0.
        where = (code["code"] == _LOAD_IMM64) & np.isin(code["registers"] >> 4, _MAP_SOURCES)
        code["imm"][where] = [self._maps[index] for index in code["imm"][where].tolist()]
        where = (code["code"] == _CALL) & (code["imm"] >= _KFUNCS)
        code["registers"][where] = _KFUNC_SOURCE << 4
        code["imm"][where] = [self._kfuncs[number - _KFUNCS] for number in code["imm"][where].tolist()]
        return code.tobytes()

    def close(self) -> None:
        """Closes the functions. Idempotent."""
        while self.functions:
            os.close(self.functions.popitem()[1])
