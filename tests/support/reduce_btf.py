"""Cuts a kernel's BTF (megabytes) down to the structures inetprobe asks for (kilobytes), for tests/btf/.

    python -m tests.reduce_btf /sys/kernel/btf/vmlinux tests/btf/6.1

Types keep their kernel's names, sizes, members and offsets; a type that is not needed becomes void.
"""

import contextlib
import struct
import sys
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import OFFSETS, Btf
from inetprobe.kernel.program import sock

_TYPE = struct.Struct("<III")
# One of each kind of result: int, pointer, none, bool.
FUNCTIONS = ("inet_create", "sk_alloc", "sock_init_data", "sk_busy_loop_end")
# Members asked for; those of SIZED with their types, as far as integers have any. Not every kernel has all of them.
SIZED = [*(member for member, _ in sock.MEMBERS.values()), sock.FLAGS]
MEMBERS = [*OFFSETS.values(), *SIZED, sock.SOCKET_SK, ("mptcp_sock", "subflow")]
ENUMERATORS = ("IPPROTO_MAX", "INET_FLAGS_IS_ICSK")  # each with the enum it is of

Paths = set[tuple[str, ...]]


class Reducer:
    def __init__(self, btf: Btf) -> None:
        self.source = btf
        self.strings = bytearray(b"\0")
        self.names: dict[str, int] = {"": 0}
        self.types: list[bytes] = []
        self.seen: dict[int, int] = {}
        self.integers: dict[int, int] = {}

    def name(self, offset: int) -> int:
        text = self.source._string(offset)
        if text not in self.names:
            self.names[text] = len(self.strings)
            self.strings += text.encode() + b"\0"
        return self.names[text]

    def add(self, position: int, wanted: Paths, sized: Paths) -> int:
        """Copies the struct or union at ``position``; follows anonymous members and the paths ``wanted``, and keeps
        the types of those ``sized``."""
        if position in self.seen:
            return self.seen[position]
        number = len(self.types) + 1
        self.seen[position] = number
        self.types.append(b"")
        name, info, size = _TYPE.unpack_from(self.source._types, position)
        body = _TYPE.pack(self.name(name), info, size)
        for i in range(info & 0xFFFF):
            member, type_id, offset = _TYPE.unpack_from(self.source._types, position + 12 * (i + 1))
            label = self.source._string(member)
            target = 0
            further = {path[1:] for path in wanted if path[0] == label and len(path) > 1}
            if not label:
                target = self.add(self.source._resolve(type_id), wanted, sized)
            elif further:
                inner = {path[1:] for path in sized if path[0] == label and len(path) > 1}
                target = self.add(self.source._resolve(type_id), further, inner)
            elif (label,) in sized:
                target = self.add_integer(type_id)
            body += _TYPE.pack(self.name(member), target, offset)
        self.types[number - 1] = body
        return number

    def add_function(self, name: str) -> None:
        """The function, its prototype and what it returns; what it takes is only counted."""
        position = self.source._search(name, 12)
        assert position is not None, name
        _, info, proto = _TYPE.unpack_from(self.source._types, position)
        _, proto_info, returned = _TYPE.unpack_from(self.source._types, self.source._position(proto))
        label, target = self.name(_TYPE.unpack_from(self.source._types, position)[0]), self.add_returned(returned)
        self.types.append(_TYPE.pack(0, proto_info, target) + bytes(8) * (proto_info & 0xFFFF))
        self.types.append(_TYPE.pack(label, info, len(self.types)))

    def add_integer(self, type_id: int) -> int:
        if type_id not in self.integers:
            self.integers[type_id] = self.add_returned(type_id)
        return self.integers[type_id]

    def add_enum_of(self, name: str) -> None:
        """The enum that has the enumerator ``name``, whole."""
        for index in self.source._indexes()[1:]:
            position = 4 * index
            label, info, size = _TYPE.unpack_from(self.source._types, position)
            if (info >> 24) & 0x1F != 6:
                continue
            entries = [
                struct.unpack_from("<Ii", self.source._types, position + 12 + 8 * i) for i in range(info & 0xFFFF)
            ]
            if name in [self.source._string(entry) for entry, _ in entries]:
                body = b"".join(struct.pack("<Ii", self.name(entry), value) for entry, value in entries)
                self.types.append(_TYPE.pack(self.name(label), info, size) + body)
                return

    def add_returned(self, type_id: int) -> int:
        if not type_id:
            return 0
        position = self.source._position(type_id)
        name, info, size = _TYPE.unpack_from(self.source._types, position)
        kind = (info >> 24) & 0x1F
        if kind == 1:
            self.types.append(
                _TYPE.pack(self.name(name), info, size) + self.source._types[position + 12 : position + 16]
            )
        elif kind == 2:
            self.types.append(_TYPE.pack(0, info, 0))
        else:
            target = self.add_returned(size)
            self.types.append(_TYPE.pack(self.name(name), info, target))
        return len(self.types)

    def blob(self) -> bytes:
        types = b"".join(self.types)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.strings))
        return header + types + bytes(self.strings)


def reduce(data: bytes) -> bytes:
    reducer = Reducer(Btf(data))
    for struct_name in dict.fromkeys(name for name, *_ in MEMBERS):
        with contextlib.suppress(HostError):  # a kernel without MPTCP
            position = reducer.source._find_struct(struct_name)
            reducer.add(position, *({path[1:] for path in some if path[0] == struct_name} for some in (MEMBERS, SIZED)))
    for name in ENUMERATORS:
        reducer.add_enum_of(name)
    for name in FUNCTIONS:
        reducer.add_function(name)
    return reducer.blob()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(reduce(Path(sys.argv[1]).read_bytes()))
