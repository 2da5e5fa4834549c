"""The record as Python sees it: a numpy type built from ``bpf/record.h``, and the batch that carries records.

``bpf/record.h`` is the only definition of the layout. It is read here once, at import, so the two cannot differ; a
test compiles the header and compares every offset with the compiler's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inetprobe.calls import Calls, Places, flatten, opaque
from inetprobe.errors import InetprobeError
from inetprobe.shapes import Groups, Names, Words, alike, call_words, grouped, names_of, packed, words_of

Records = npt.NDArray[np.void]

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
    """Where the BPF sources stand: inside the package when installed, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "bpf", here.parent / "bpf"):
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
                raise InetprobeError(
                    f"bpf/record.h: struct {struct_name}: cannot read the declaration {line.strip()!r}"
                )
            kind, name, length = match.groups()
            count = None if length is None else int(length) if length.isdigit() else sizes[length]
            if kind == "char" and count is not None:
                fields.append((name, f"S{count}"))
                continue
            scalar: Any = structs[kind.split()[1]] if kind.startswith("struct") else _SCALARS[kind]
            fields.append((name, scalar) if count is None else (name, scalar, (count,)))
        structs[struct_name] = np.dtype(fields, align=True)
    return structs


_HEADER = (bpf_folder() / "record.h").read_text()
_DEFINES = parse_defines(_HEADER)


def define(name: str) -> int:
    """The value of a constant of ``bpf/record.h``."""
    return _DEFINES[name]


#: Calls a record holds, and how many with --also.
SLOTS = _DEFINES["INETPROBE_CALLS"]
SLOTS_ALSO = 32


@lru_cache
def record_dtype(
    calls: int = SLOTS, *, sock: bool = False, stack: bool = False, frames: bool = False
) -> np.dtype[np.void]:
    """``struct inetprobe_record`` with room for ``calls`` calls and, with ``sock``, for the sock's fields.

    With ``stack`` it has the number of a stack, and with ``frames`` besides what only the kernel's ring has: addresses.
    """
    sizes = {
        "INETPROBE_CALLS": calls,
        "INETPROBE_SOCKS": int(sock),
        "INETPROBE_STACKS": int(stack),
        "INETPROBE_FRAMES": int(frames),
    }
    return parse_structs(_HEADER, _DEFINES | sizes)["inetprobe_record"]


RECORD = record_dtype()

CALL_RETURNED = define("CALL_RETURNED")
CALL_POINTER = define("CALL_POINTER")
CALL_NULL = define("CALL_NULL")
CALL_VOID = define("CALL_VOID")
MODULE_PROTO_TYPE = define("MODULE_PROTO_TYPE")
MODULE_PROTO = define("MODULE_PROTO")
RECORD_CAP_KNOWN = define("RECORD_CAP_KNOWN")
RECORD_CAP_NET_RAW = define("RECORD_CAP_NET_RAW")
RECORD_KERN = define("RECORD_KERN")
RECORD_RETURN_MISSED = define("RECORD_RETURN_MISSED")
RECORD_ENTRY_MISSED = define("RECORD_ENTRY_MISSED")
RECORD_TRUNCATED = define("RECORD_TRUNCATED")
RECORD_BARE = define("RECORD_BARE")
RECORD_SOFTIRQ = define("RECORD_SOFTIRQ")
FUNCTION_REQUEST_MODULE = define("FUNCTION_REQUEST_MODULE")
PRODUCERS = define("PRODUCERS")

# A record whose call was not seen whole, worst first, with what the summary and the JSON call it.
INCOMPLETE_FLAGS = {
    RECORD_RETURN_MISSED: "return_missed",
    RECORD_ENTRY_MISSED: "entry_missed",
    RECORD_TRUNCATED: "truncated",
}

#: Members of a record that are text.
NAMES = ("comm", "prot")

# Members of a record that make no difference to its shape.
_APART = (
    "start_ns",
    "seq",
    "cgroup_id",
    "pid",
    "tid",
    "ppid",
    "uid",
    "gid",
    "netns",
    "foreign",
    "cpu",
    "comm",
    "stack",
)
#: Members that a record has one of or none.
OPTIONAL = ("sock", "stack")

#: The most functions --also takes, and the number of the first.
ALSO_MAX = define("ALSO_MAX")
FUNCTION_ALSO = define("FUNCTION_ALSO")

#: The functions always traced, by the number a call carries.
FUNCTIONS: dict[int, str] = {
    define("FUNCTION_INET_CREATE"): "inet_create",
    define("FUNCTION_INET6_CREATE"): "inet6_create",
    define("FUNCTION_SK_ALLOC"): "sk_alloc",
    define("FUNCTION_SK_PROT_ALLOC"): "sk_prot_alloc",
    FUNCTION_REQUEST_MODULE: "__request_module",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """``count`` sockets that were created but have no trace, and why (``ring_full``, ``no_state``, …)."""

    reason: str
    count: int


class Batch:
    """Records in the order they arrived, and what was lost since the batch before.

    ``records`` is one-dimensional with a dtype of ``record_dtype``; it is never written to once in a batch. What needs
    only some columns asks for those, and for the calls apart: a batch that was columns need not become records.
    """

    def __init__(self, records: Records, losses: tuple[Loss, ...] = ()) -> None:
        self._records: Records | None = records
        self._size = len(records)
        self._calls: Calls | None = None
        self._shapes: Groups | None = None
        self._kinds: Records | None = None
        self._keys: list[bytes] | None = None
        # Of what part of which batch this is, if that one's shapes are known.
        self._part_of: tuple[Batch, Places] | None = None
        self.losses = losses

    def __len__(self) -> int:
        return self._size

    @property
    def records(self) -> Records:
        """All of it, as the kernel sent it."""
        if self._records is None:
            self._records = self._make_records()
        return self._records

    @property
    def dtype(self) -> np.dtype[np.void]:
        """That of the records."""
        return self.records.dtype

    @property
    def calls(self) -> Calls:
        """The records' calls, as columns."""
        if self._calls is None:
            self._calls = flatten(self.records["calls"], self.records["ncalls"])
        return self._calls

    @property
    def shapes(self) -> Groups:
        """Which records are the same but for who, where and when: of the same request, path, results and flags.

        The verdict on one of a shape is the verdict on all.
        """
        if self._shapes is None:
            if self._part_of is None:
                self._shapes = alike(self._words())
            else:
                whole, rows = self._part_of
                self._shapes = grouped(whole.shapes.of[rows])
        return self._shapes

    def shapes_by(self, *names: str) -> Groups:
        """The records of one shape that have the same in these members, too, as far as they have them."""
        there = [name for name in names if name not in OPTIONAL or self.dtype[name].shape[0]]
        also = [self.names(name).places if name in NAMES else self.column(name) for name in there]
        return grouped(self.shapes.of, *also)

    @property
    def kinds(self) -> Records:
        """The first record of each shape, in the order of ``shapes.first``."""
        if self._kinds is None:
            self._kinds = self.take(self.shapes.first).records
        return self._kinds

    @property
    def kind_keys(self) -> list[bytes]:
        """Of each shape what makes it one, the same in whatever batch it comes again: the bytes of a record of
        ``dtype`` that is 0 in all else."""
        if self._keys is None:
            if self._part_of is None:
                self._keys = _keys(self.kinds)
            else:
                whole, rows = self._part_of
                keys = whole.kind_keys
                self._keys = [keys[shape] for shape in whole.shapes.of[rows[self.shapes.first]].tolist()]
        return self._keys

    def column(self, name: str) -> npt.NDArray[Any]:
        """A member of ``struct inetprobe_record``, one a record; ``sock`` and ``stack`` where a record has them."""
        column: npt.NDArray[Any] = self.records[name]
        return column[:, 0] if name in OPTIONAL else column

    def names(self, name: str) -> Names:
        """A column of names, ``comm`` or ``prot``, with fewer names than records to look at."""
        return names_of(self.column(name))

    @property
    def has_sock(self) -> bool:
        """Have the records the fields of the sock that was made?"""
        return bool(self.dtype["sock"].shape[0])

    @property
    def has_stack(self) -> bool:
        """Have the records a number of who called?"""
        return bool(self.dtype["stack"].shape[0])

    def take(self, rows: Places, losses: tuple[Loss, ...] = ()) -> Batch:
        """The records at these places, in their order."""
        taken = self._take(rows, losses)
        if self._shapes is not None:
            taken._part_of = self, rows
        return taken

    def _take(self, rows: Places, losses: tuple[Loss, ...]) -> Batch:
        return Batch(opaque(self.records)[rows].view(self.dtype), losses)

    def _make_records(self) -> Records:
        raise NotImplementedError

    def _words(self) -> list[Words]:
        request = packed((self.column("family"), 16), (self.column("type"), 16), (self.column("protocol"), 32))
        made = packed((self.names("prot").places, 32), (self.column("flags"), 8), (self.column("ncalls"), 8))
        socks = words_of(self.column("sock")) if self.has_sock else []
        return [request, made, *socks, *call_words(self.calls)]


def _keys(kinds: Records) -> list[bytes]:
    bare = kinds.copy()
    for name in _APART:
        bare[name] = np.zeros((), bare.dtype[name])
    for name in ("start_ns", "duration_ns"):
        bare["calls"][name] = 0
    slots = bare["calls"]
    slots[np.arange(slots.shape[1]) >= bare["ncalls"][:, None]] = np.zeros((), slots.dtype)
    keys: list[bytes] = opaque(bare).tolist()
    return keys


def decode(data: bytes | bytearray | memoryview, dtype: np.dtype[np.void] = RECORD) -> Records:
    """The records in ``data``, without a copy. Raises InetprobeError if it is not a whole number of them."""
    size = memoryview(data).nbytes
    if size % dtype.itemsize:
        raise InetprobeError(f"{size} bytes are not a whole number of {dtype.itemsize}-byte records")
    return np.frombuffer(data, dtype=dtype)


def joined(pieces: Sequence[Records]) -> Records:
    """A copy of one or more arrays of records in a row."""
    return np.concatenate([opaque(piece) for piece in pieces]).view(pieces[0].dtype)


def incomplete_reason(flags: int) -> str | None:
    """Why a record with these flags is not a complete trace, or None when it is one."""
    for flag, reason in INCOMPLETE_FLAGS.items():
        if flags & flag:
            return reason
    return None


def reasons(flags: npt.NDArray[np.uint8]) -> list[tuple[str | None, int]]:
    """Why records with these flags are not complete traces, None for those that are, and of how many that is true."""
    counts = np.bincount(flags)
    return [(incomplete_reason(value), int(counts[value])) for value in np.flatnonzero(counts).tolist()]
