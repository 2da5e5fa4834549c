"""The C headers of ``bpf/`` as numpy types: a layout is written once, in C."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from inetprobe.base.errors import InetprobeError

_DEFINE = re.compile(r"^#define\s+(\w+)\s+(\d+)\b", re.MULTILINE)
_STRUCT = re.compile(r"^struct\s+(\w+)\s*\{(.*?)^\};", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"(struct\s+\w+|\w+)\s+(\w+)(?:\[(\w+)\])?;")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SCALARS = {
    "__u8": "u1",
    "__u16": "u2",
    "__u32": "u4",
    "__u64": "u8",
    "__s8": "i1",
    "__s16": "i2",
    "__s32": "i4",
    "__s64": "i8",
}


def bpf_folder() -> Path:
    """The folder of the BPF sources: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "bpf", package.parent / "bpf"):
        if (folder / "record.h").is_file():
            return folder
    raise InetprobeError("bpf/record.h is missing from this installation of inetprobe: install it again")


def parse_defines(text: str) -> dict[str, int]:
    """Every ``#define NAME NUMBER`` of a C header, by name."""
    return {name: int(value) for name, value in _DEFINE.findall(_COMMENT.sub("", text))}


def parse_structs(text: str, sizes: dict[str, int]) -> dict[str, np.dtype[np.void]]:
    """Every struct of a C header as a numpy type with the compiler's natural alignment.

    ``sizes`` gives the array lengths that the header names by a macro. Raises InetprobeError for a declaration this
    small reader does not know, since a guessed layout would be a silent lie.
    """
    structs: dict[str, np.dtype[np.void]] = {}
    for struct_name, body in _STRUCT.findall(_COMMENT.sub("", text)):
        fields: list[Any] = []
        declarations = [line for line in body.splitlines() if line.strip()]
        for line in declarations:
            match = _FIELD.fullmatch(line.strip())
            if match is None:
                raise InetprobeError(f"struct {struct_name} of bpf/: cannot read the declaration {line.strip()!r}")
            type_, name, length = match.groups()
            count = None if length is None else int(length) if length.isdigit() else sizes[length]
            if type_ == "char" and count is not None:
                fields.append((name, f"S{count}"))
                continue
            scalar: Any = structs[type_.split()[1]] if type_.startswith("struct") else _SCALARS[type_]
            fields.append((name, scalar) if count is None else (name, scalar, (count,)))
        structs[struct_name] = np.dtype(fields, align=True)
    return structs
