"""Cuts a kernel's BTF (megabytes) down to the structures inetprobe asks for (kilobytes), for tests/btf/.

    python tests/reduce_btf.py /sys/kernel/btf/vmlinux tests/btf/6.1

Types keep their kernel's names, sizes, members and offsets; a type that is not needed becomes void.
"""

import struct
import sys
from pathlib import Path

from inetprobe.kernel.btf import OFFSETS, Btf

_TYPE = struct.Struct("<III")
# One of each kind of result: int, pointer, none, bool.
FUNCTIONS = ("inet_create", "sk_alloc", "sock_init_data", "sk_busy_loop_end")


class Reducer:
    def __init__(self, btf: Btf) -> None:
        self.source = btf
        self.strings = bytearray(b"\0")
        self.names: dict[str, int] = {"": 0}
        self.types: list[bytes] = []
        self.seen: dict[int, int] = {}

    def name(self, offset: int) -> int:
        text = self.source._string(offset)
        if text not in self.names:
            self.names[text] = len(self.strings)
            self.strings += text.encode() + b"\0"
        return self.names[text]

    def add(self, position: int, wanted: tuple[str, ...]) -> int:
        """Copies the struct or union at ``position``; follows anonymous members and the path ``wanted``."""
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
            if not label:
                target = self.add(self.source._resolve(type_id), wanted)
            elif wanted and label == wanted[0] and len(wanted) > 1:
                target = self.add(self.source._resolve(type_id), wanted[1:])
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
    # The longest path through each struct first, so that what it follows is kept.
    for struct_name, *members in sorted(OFFSETS.values(), key=len, reverse=True):
        reducer.add(reducer.source._find_struct(struct_name), tuple(members))
    for name in FUNCTIONS:
        reducer.add_function(name)
    return reducer.blob()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(reduce(Path(sys.argv[1]).read_bytes()))
