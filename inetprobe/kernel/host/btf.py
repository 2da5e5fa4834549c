"""The offsets of the running kernel's structure members, from its own BTF (Documentation/bpf/btf.rst).

Only a few dozen members are needed, out of some hundred thousand types, so a structure is found by searching the type
section for its header instead of parsing everything before it.
"""

from __future__ import annotations

import struct
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from inetprobe.base.errors import HostError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_KIND_INT, _KIND_POINTER, _KIND_STRUCT, _KIND_UNION, _KIND_ENUM, _KIND_FUNC, _KIND_PROTO = 1, 2, 4, 5, 6, 12, 13
_KIND_ENUM64 = 19
# typedef, volatile, const, restrict, type_tag: another type by the same size.
_NAMES_ANOTHER = frozenset({8, 9, 10, 11, 18})
# Bytes that follow a type's 12-byte header: (fixed, for each of its vlen entries).
_TAIL = {
    1: (4, 0),  # int
    3: (12, 0),  # array
    4: (0, 12),  # struct
    5: (0, 12),  # union
    6: (0, 8),  # enum
    13: (0, 8),  # func_proto
    14: (4, 0),  # var
    15: (0, 12),  # datasec
    17: (4, 0),  # decl_tag
    19: (0, 12),  # enum64
}
_LAST_KIND = 19
# The header's last two words and struct btf_layout of Linux 7.2: how long the types of each kind are, by kind.
_LAYOUT_HEADER = struct.Struct("<II")
_LAYOUT = struct.Struct("<BBH")
# Bytes of an enumerator, and the type of the value that follows its name.
_ENUMERATORS = {_KIND_ENUM: (8, struct.Struct("<i")), _KIND_ENUM64: (12, struct.Struct("<q"))}

#: The remedy where the BTF cannot be used.
_ANOTHER = "boot another kernel, or trace in a VM: inetprobe vm -- trace"


class Prototype(NamedTuple):
    """A function's number of arguments, its return type (``VOID``, ``POINTER``, or an integer's bits), its id, and
    whether an argument is a structure or union by value.

    An integer of 64 bits counts as 32: the kernel returns errnos and small numbers so.
    """

    arguments: int
    returns: str
    type_id: int
    by_value: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """An integer member: ``bits`` wide, beginning ``shift`` bits above the lowest bit of the byte at ``offset``."""

    offset: int
    shift: int
    bits: int
    signed: bool


@dataclass(frozen=True, slots=True)
class _Member:
    """``bits``: a bit field's size, 0 where the type has it."""

    name: int
    type_id: int
    bit_offset: int
    bits: int


class Btf:
    """One BTF blob. Raises HostError if it is none, or is cut short."""

    def __init__(self, data: bytes, name: str = str(VMLINUX)) -> None:
        self._name = name
        if len(data) < _HEADER.size:
            raise HostError(f"{name} is not BTF: it has {len(data)} bytes", _ANOTHER)
        magic, version, _flags, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1:
            raise HostError(f"{name} is not BTF of version 1 and this machine's byte order", _ANOTHER)
        if header + max(type_off + type_len, str_off + str_len) > len(data):
            raise HostError(f"{name} is cut short", _ANOTHER)
        self._tail = dict(_TAIL)
        if header >= _HEADER.size + _LAYOUT_HEADER.size:
            offset, length = _LAYOUT_HEADER.unpack_from(data, _HEADER.size)
            layout = data[header + offset : header + offset + length]
            sizes = _LAYOUT.iter_unpack(layout[: len(layout) // _LAYOUT.size * _LAYOUT.size])
            self._tail |= {kind: (fixed, each) for kind, (fixed, each, _) in enumerate(sizes) if kind > _LAST_KIND}
        self._types = data[header + type_off : header + type_off + type_len]
        self._strings = data[header + str_off : header + str_off + str_len]
        self._by_id: list[int] | None = None

    @classmethod
    def of_kernel(cls, path: Path = VMLINUX) -> Btf:
        """The running kernel's BTF. Raises HostError, with the remedy, where it has none."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            if not path.parents[1].is_dir():
                raise HostError("/sys is not mounted here", "mount -t sysfs sysfs /sys") from None
            raise HostError(
                f"{path} cannot be read ({error.strerror})",
                "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, or trace in a VM: inetprobe vm -- trace",
            ) from None

    def offset(self, struct_name: str, *members: str) -> int:
        """Byte offset of ``members`` (a path through nested structs) in ``struct struct_name``.

        Members of anonymous structs and unions are found as in C. Raises HostError if there is no structure or member
        of this name, if it is a bit field that does not start on a byte, or if the blob is damaged.
        """
        bit_offset = self._member(struct_name, members).bit_offset
        if bit_offset % 8:
            raise HostError(f"struct {struct_name}: {'.'.join(members)} is a bit field", _ANOTHER)
        return bit_offset // 8

    def field(self, struct_name: str, *members: str) -> Field:
        """The integer or enum member at the end of a path, bit fields too (little-endian, as x86-64 lays them out).

        Raises HostError as ``offset`` does, and for a member that is not an integer.
        """
        member = self._member(struct_name, members)
        try:
            bit_offset, bits, signed = self._integer(member)
        except (struct.error, IndexError):
            raise self._damaged(struct_name) from None
        if not bits:
            raise HostError(f"struct {struct_name}: {'.'.join(members)} is not an integer", _ANOTHER)
        return Field(bit_offset // 8, bit_offset % 8, bits, signed)

    def _integer(self, member: _Member) -> tuple[int, int, bool]:
        """(bit offset, bits, signed?); 0 bits if it is not an integer."""
        type_id = member.type_id
        for _ in range(32):
            position = self._position(type_id)
            _, info, size_or_type = _TYPE.unpack_from(self._types, position)
            kind = _kind(info)
            if kind == _KIND_INT:
                (encoding,) = struct.unpack_from("<I", self._types, position + _TYPE.size)
                # Before kind_flag a bit field had an int type of its own, with its bit offset in the upper bits.
                within, bits = (0, member.bits) if member.bits else (encoding >> 16 & 0xFF, encoding & 0xFF)
                return member.bit_offset + within, bits, bool(encoding >> 24 & 1)
            if kind in (_KIND_ENUM, _KIND_ENUM64):
                return member.bit_offset, member.bits or 8 * size_or_type, bool(info >> 31)
            if kind not in _NAMES_ANOTHER or not type_id:
                break
            type_id = size_or_type
        return 0, 0, False

    def _member(self, struct_name: str, members: tuple[str, ...]) -> _Member:
        """The member at the end of a path, its bit offset from the structure's start."""
        try:
            position = self._find_struct(struct_name)
            member, total = None, 0
            for index, name in enumerate(members):
                if member is not None:
                    position = self._resolve(member.type_id)
                member = self._find_member(position, name, set())
                if member is None:
                    path = ".".join(members[: index + 1])
                    raise HostError(f"this kernel's struct {struct_name} has no member {path}", _ANOTHER)
                total += member.bit_offset
        except (ValueError, struct.error, RecursionError):  # a name offset, an entry or a nesting that is invalid
            raise self._damaged(struct_name) from None
        assert member is not None, "a path has a member"
        return replace(member, bit_offset=total)

    def _damaged(self, struct_name: str) -> HostError:
        return HostError(f"{self._name} is damaged: it does not describe struct {struct_name}", _ANOTHER)

    def has_member(self, struct_name: str, *members: str) -> bool:
        """Is there this member of this structure? False for a bit field that does not start on a byte, too."""
        try:
            self.offset(struct_name, *members)
        except HostError:
            return False
        return True

    def enumerator(self, name: str) -> int | None:
        """The value of a C enumerator, None if there is none of this name.

        Raises HostError if the blob is damaged.
        """
        values = (self._enumerator(offset) for offset in self._name_offsets(name))
        return next((value for value in values if value is not None), None)

    def _name_offsets(self, name: str) -> Iterator[int]:
        """The offsets in the type section at which a word equals the offset of ``name`` in the string section."""
        name_off = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        if not name_off:
            return
        needle = struct.pack("<I", name_off)
        offset = self._types.find(needle)
        while offset >= 0:
            yield offset
            offset = self._types.find(needle, offset + 1)

    def _enumerator(self, offset: int) -> int | None:
        """The value of the enumerator whose entry is at ``offset``; None if no enumerator is there."""
        position = self._position(self._id_at(offset))
        within = offset - position - _TYPE.size
        try:
            _, info, _ = _TYPE.unpack_from(self._types, position)
            kind = _kind(info)
            if within >= 0 and kind in _ENUMERATORS:
                size, value = _ENUMERATORS[kind]
                return int(value.unpack_from(self._types, offset + 4)[0]) if within % size == 0 else None
        except struct.error:
            raise HostError(f"{self._name} is damaged: an enum is cut short", _ANOTHER) from None
        return None

    def size(self, name: str) -> int | None:
        """The size of ``struct name`` in bytes; None if there is none."""
        position = self._search(name, _KIND_STRUCT)
        return None if position is None else int(_TYPE.unpack_from(self._types, position)[2])

    def type_name(self, struct_name: str, *members: str) -> str:
        """The name of the type of a member, as its declaration spells it; "" where it has none.

        Raises HostError as ``offset`` does.
        """
        member = self._member(struct_name, members)
        try:
            name, _, _ = _TYPE.unpack_from(self._types, self._position(member.type_id))
            return self._string(name)
        except (ValueError, struct.error, IndexError):
            raise self._damaged(struct_name) from None

    def has_struct(self, name: str) -> bool:
        """Does this kernel define ``struct name``?"""
        return self._search(name, _KIND_STRUCT) is not None

    def prototype(self, name: str) -> Prototype | None:
        """The prototype of the function ``name``; None if BTF does not describe it.

        Raises HostError if the blob is damaged.
        """
        position = self._search(name, _KIND_FUNC)
        if position is None:
            return None
        try:
            _, _, proto = _TYPE.unpack_from(self._types, position)
            start = self._position(proto)
            _, info, returned = _TYPE.unpack_from(self._types, start)
            arguments = _vlen(info)
            parameters = struct.iter_unpack("<4xI", self._parameters(start + _TYPE.size, arguments))
            by_value = any(self._plain(type_id)[0] in (_KIND_STRUCT, _KIND_UNION) for (type_id,) in parameters)
            return Prototype(arguments, self._returns(returned), self._id_at(position), by_value)
        except (struct.error, IndexError):
            raise HostError(f"{self._name} is damaged: it does not describe the function {name}", _ANOTHER) from None

    def _parameters(self, start: int, number: int) -> bytes:
        end = start + 8 * number
        if end > len(self._types):
            raise IndexError(f"{number} parameters")
        return self._types[start:end]

    def _returns(self, type_id: int) -> str:
        kind, size = self._plain(type_id)
        if kind == _KIND_POINTER:
            return "POINTER"
        # A structure by value does not fit into one word.
        return str(min(8 * size, 32)) if kind in (_KIND_INT, _KIND_ENUM, _KIND_ENUM64) else "VOID"

    def _plain(self, type_id: int) -> tuple[int, int]:
        """(kind, size) of a type behind its typedefs and qualifiers; (0, 0) of void."""
        for _ in range(32):
            if not type_id:
                break
            _, info, size_or_type = _TYPE.unpack_from(self._types, self._position(type_id))
            kind = _kind(info)
            if kind not in _NAMES_ANOTHER:
                return kind, size_or_type
            type_id = size_or_type
        return 0, 0

    def _position(self, type_id: int) -> int:
        return 4 * self._indexes()[type_id]

    def _indexes(self) -> list[int]:
        """Of each type the index of its first word in the type section, by its id."""
        if self._by_id is None:
            self._by_id = self._index()
        return self._by_id

    def _id_at(self, offset: int) -> int:
        """The id of the type that contains the byte at ``offset``."""
        return bisect(self._indexes(), offset // 4) - 1

    def _find_struct(self, name: str) -> int:
        position = self._search(name, _KIND_STRUCT)
        if position is None:
            raise HostError(f"this kernel's BTF ({self._name}) has no struct {name}", _ANOTHER)
        return position

    def _search(self, name: str, kind: int) -> int | None:
        # Members of this name have the name's offset, too, but their next word is a type id, which is far below 4 << 24
        # and so never looks like a type's info.
        for position in self._name_offsets(name):
            if position % 4 == 0 and position + _TYPE.size <= len(self._types):
                _, info, _ = _TYPE.unpack_from(self._types, position)
                # An empty struct is a forward declaration in disguise; a function's low bits are its linkage.
                if _kind(info) == kind and (_vlen(info) or kind == _KIND_FUNC):
                    return position
        return None

    def _members(self, position: int) -> list[_Member]:
        _, info, _ = _TYPE.unpack_from(self._types, position)
        sized_bits = info >> 31  # kind_flag: the upper byte of each offset is a bit-field size
        members = []
        for i in range(_vlen(info)):
            name, type_id, offset = _TYPE.unpack_from(self._types, position + _TYPE.size * (i + 1))
            bits = offset >> 24 if sized_bits else 0
            members.append(_Member(name, type_id, offset & 0xFFFFFF if sized_bits else offset, bits))
        return members

    def _find_member(self, position: int, name: str, seen: set[int]) -> _Member | None:
        """``seen``: the anonymous structures that are known not to have it; a damaged one may be in itself."""
        members = self._members(position)
        for member in members:
            if self._string(member.name) == name:
                return member
        for member in members:
            if not member.name:
                inner = self._resolve(member.type_id)
                if inner in seen:
                    continue
                seen.add(inner)
                nested = self._find_member(inner, name, seen)
                if nested is not None:
                    return replace(nested, bit_offset=member.bit_offset + nested.bit_offset)
        return None

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _resolve(self, type_id: int) -> int:
        """The position of the struct or union ``type_id``, behind any typedefs and qualifiers."""
        for _ in range(32):
            try:
                position = self._position(type_id)
            except IndexError:
                break
            if not type_id:
                break
            _, info, target = _TYPE.unpack_from(self._types, position)
            if _kind(info) in (_KIND_STRUCT, _KIND_UNION):
                return position
            type_id = target
        raise HostError(f"{self._name}: type {type_id} is not a structure", _ANOTHER)

    def _index(self) -> list[int]:
        words, indexes, index = memoryview(self._types[: len(self._types) // 4 * 4]).cast("I"), [0], 0
        lengths, end = _Lengths(self._tail, self._name), len(self._types) // 4
        append = indexes.append
        try:
            while index < end:
                append(index)
                index += lengths[words[index + 1]]
        except IndexError:
            raise HostError(f"{self._name} is damaged: its last type is cut short", _ANOTHER) from None
        return indexes


class _Lengths(dict[int, int]):
    """The length in words of a type, by its info: a hundred thousand types have a thousand different ones."""

    def __init__(self, tail: Mapping[int, tuple[int, int]], name: str) -> None:
        super().__init__()
        self._tail = tail
        self._name = name

    def __missing__(self, info: int) -> int:
        kind = _kind(info)
        if not kind or (kind > _LAST_KIND and kind not in self._tail):
            raise HostError(f"{self._name} has a type of kind {kind}, which inetprobe does not know", _ANOTHER)
        fixed, each = self._tail.get(kind, (0, 0))
        self[info] = length = (_TYPE.size + fixed + each * _vlen(info)) // 4
        return length


def _kind(info: int) -> int:
    return info >> 24 & 0x7F


def _vlen(info: int) -> int:
    # include/uapi/linux/btf.h of Linux 7.2. Earlier, vlen had 16 bits and kind 5, and those above them were 0.
    return info & 0xFFFFFF


#: The constants that bpf/inetprobe.bpf.c needs, each with the member whose offset it is.
OFFSETS: dict[str, tuple[str, ...]] = {
    "OFF_SOCKET_TYPE": ("socket", "type"),
    "OFF_PROTO_NAME": ("proto", "name"),
    "OFF_NET_INUM": ("net", "ns", "inum"),
    "OFF_NET_USER_NS": ("net", "user_ns"),
    "OFF_TASK_CRED": ("task_struct", "cred"),
    "OFF_TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "OFF_TASK_TGID": ("task_struct", "tgid"),
    "OFF_TASK_COMM": ("task_struct", "comm"),
    "OFF_TASK_NSPROXY": ("task_struct", "nsproxy"),
    "OFF_NSPROXY_NET": ("nsproxy", "net_ns"),
    "OFF_TASK_FLAGS": ("task_struct", "flags"),
    "OFF_TASK_STACK": ("task_struct", "stack"),
    "OFF_TASK_SIGNAL": ("task_struct", "signal"),
    "OFF_TASK_START": ("task_struct", "start_boottime"),
    "OFF_SIGNAL_LIVE": ("signal_struct", "live"),
    "OFF_SIGNAL_RLIM": ("signal_struct", "rlim"),
    "OFF_CRED_UID": ("cred", "uid"),
    "OFF_CRED_GID": ("cred", "gid"),
    "OFF_CRED_CAP_EFFECTIVE": ("cred", "cap_effective"),
    "OFF_CRED_USER_NS": ("cred", "user_ns"),
}


def offsets(btf: Btf) -> dict[str, int]:
    """Every constant of ``OFFSETS`` for this kernel, in bytes."""
    return {constant: btf.offset(*path) for constant, path in OFFSETS.items()}
