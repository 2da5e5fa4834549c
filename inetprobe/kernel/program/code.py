"""The output of bcc's compiler, without bcc: the maps that the program needs and the code of each function.

bcc creates the maps as it compiles, and the code refers to a map by its file descriptor. Here it refers to a map by its
index, so that code can be cached (``code_cache``) and loaded by another process, with maps of its own.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.base.errors import InetprobeError
from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.syscall import MapShape

# struct bpf_insn of include/uapi/linux/bpf.h; ``registers`` has four bits for each of the two.
_INSN = np.dtype([("code", "u1"), ("registers", "u1"), ("off", "<i2"), ("imm", "<i4")])
# BPF_LD | BPF_IMM | BPF_DW, whose source register is BPF_PSEUDO_MAP_FD or _VALUE where `imm` is a map's descriptor.
_LOAD_IMM64 = 0x18
_MAP_SOURCES = (1, 2)
# The prefix of a fentry program's name in the C source; `fentry_name` says what libbcc expects.
_FENTRY_PREFIX = re.compile(r"k(?:ret)?func__")


class LoadError(InetprobeError):
    """The kernel, or BTF, refused one function."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """``maps``: the maps that loading creates. ``functions``: the code by name; it refers to a map by its index in the
    given maps, in their order, followed by ``maps``.
    """

    maps: tuple[MapShape, ...]
    functions: Mapping[str, bytes]

    @classmethod
    def of_bcc(cls, lib: Any, module: int, given: Sequence[int]) -> Compiled:  # bcc has no types
        """The code of libbcc's ``module``; ``given`` are the descriptors of maps that are not the module's.

        Raises OSError where the kernel does not describe a map.
        """
        codes = {}
        for number in range(lib.bpf_num_functions(module)):
            name = lib.bpf_function_name(module, number)
            start, size = lib.bpf_function_start(module, name), lib.bpf_function_size(module, name)
            codes[name.decode()] = np.frombuffer(ctypes.string_at(start, size), _INSN).copy()
        used = {int(fd) for code in codes.values() for fd in code["imm"][_names_map(code)]}
        own = sorted(used.difference(given))
        indexes = {fd: index for index, fd in enumerate([*given, *own])}
        return cls(
            tuple(syscall.map_shape(fd) for fd in own),
            {name: _renamed(code, indexes).tobytes() for name, code in codes.items()},
        )


class Loaded:
    """The program in the kernel: the descriptors of its maps and of the loaded functions, by name. Not thread-safe."""

    def __init__(self, lib: Any, compiled: Compiled, given: Sequence[int], *, bcc_version: str) -> None:
        """``lib`` is libbcc of ``bcc_version``. Raises OSError where the kernel creates no map."""
        self._lib = lib
        self._bcc_version = bcc_version
        self._compiled = compiled
        self.functions: dict[str, int] = {}
        self.maps: dict[str, int] = {}
        try:
            for shape in compiled.maps:
                self.maps[shape.name] = syscall.create_map(shape)
        except OSError:
            self.close()
            raise
        self._descriptors = dict(enumerate([*given, *self.maps.values()]))

    def load(self, name: str, type_: int) -> int:
        """The descriptor of the function ``name`` as a program of ``type_``, loaded at the first call.

        Raises LoadError with the errno's text; libbcc has written more to file descriptor 2.
        """
        if name not in self.functions:
            code = np.frombuffer(self._compiled.functions[name], _INSN).copy()
            insns = _renamed(code, self._descriptors).tobytes()
            bcc_name = fentry_name(name, self._bcc_version).encode()
            ctypes.set_errno(0)
            fd = self._lib.bcc_prog_load(
                ctypes.c_int(type_), bcc_name, insns, ctypes.c_int(len(insns)), b"GPL", 0, 0, None, 0
            )
            if fd < 0:
                raise LoadError(os.strerror(ctypes.get_errno()))
            self.functions[name] = fd
        return self.functions[name]

    def close(self) -> None:
        """Closes maps and functions. Idempotent."""
        for descriptors in (self.functions, self.maps):
            while descriptors:
                os.close(descriptors.popitem()[1])


def fentry_name(name: str, bcc_version: str) -> str:
    """The name by which libbcc finds the kernel function of the fentry program ``name``; other names are unchanged.

    From 0.28 on (bcc 80fcfc99) bcc_prog_load_xattr() of src/cc/libbpf.c reads kfunc__MODULE__FUNCTION, and overruns a
    buffer where there is no second ``__``; before, everything after kfunc__ is the function. A version that cannot be
    read is treated as new: an old bcc given the new name only fails to find the function.
    """
    prefix = _FENTRY_PREFIX.match(name)
    version = re.match(r"(\d+)\.(\d+)", bcc_version)
    if prefix is None or (version is not None and (int(version[1]), int(version[2])) < (0, 28)):
        return name
    return f"{prefix[0]}vmlinux__{name[prefix.end() :]}"


def _names_map(code: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    # The second half of a 64-bit constant may have any imm, but its code is 0.
    named: npt.NDArray[np.bool_] = (code["code"] == _LOAD_IMM64) & np.isin(code["registers"] >> 4, _MAP_SOURCES)
    return named


def _renamed(code: npt.NDArray[np.void], names: Mapping[int, int]) -> npt.NDArray[np.void]:
    """Replaces every map's number in ``code`` by that of ``names``, in place."""
    where = _names_map(code)
    code["imm"][where] = [names[name] for name in code["imm"][where].tolist()]
    return code
