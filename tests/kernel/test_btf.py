import contextlib
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import OFFSETS, Btf, Field, Prototype, offsets
from inetprobe.kernel.program import sock
from inetprobe.kernel.program.target import fentry_functions
from inetprobe.model.inet_sock import Sock
from tests.support.paths import BTF

# As pahole prints them for Debian's 6.1.0 kernel.
DEBIAN_6_1 = {
    "OFF_SOCKET_TYPE": 4,
    "OFF_PROTO_NAME": 408,
    "OFF_NET_INUM": 144,
    "OFF_NET_USER_NS": 88,
    "OFF_TASK_CRED": 2960,
    "OFF_TASK_REAL_PARENT": 2432,
    "OFF_TASK_TGID": 2420,
    "OFF_TASK_FLAGS": 44,
    "OFF_TASK_STACK": 32,
    "OFF_TASK_SIGNAL": 3072,
    "OFF_TASK_START": 2784,
    "OFF_SIGNAL_LIVE": 4,
    "OFF_SIGNAL_RLIM": 688,
    "OFF_CRED_CAP_EFFECTIVE": 60,
    "OFF_CRED_USER_NS": 136,
    "OFF_CRED_UID": 8,
    "OFF_CRED_GID": 12,
    "OFF_TASK_COMM": 2976,
    "OFF_TASK_NSPROXY": 3064,
    "OFF_NSPROXY_NET": 40,
}


def recorded(name="6.1"):
    return Btf.of_kernel(BTF / name)


def test_offsets_of_a_recorded_kernel():
    assert offsets(recorded()) == DEBIAN_6_1


@pytest.mark.parametrize("name", sorted(path.name for path in BTF.iterdir()))
def test_every_recorded_kernel_has_every_offset(name):
    assert set(offsets(recorded(name))) == set(OFFSETS)


def test_a_member_of_an_anonymous_struct_is_found_as_in_c():
    # sock_common starts with anonymous unions; build the same in miniature.
    btf = Btf(miniature())
    assert btf.offset("outer", "deep") == 8 + 4


def test_a_nested_path_adds_up():
    assert Btf(miniature()).offset("outer", "inner", "second") == 16 + 4


def test_an_unknown_struct_or_member_is_named():
    with pytest.raises(HostError, match="no struct nonesuch"):
        recorded().offset("nonesuch", "x")
    with pytest.raises(HostError, match=r"struct socket has no member nonesuch"):
        recorded().offset("socket", "nonesuch")


def test_a_bit_field_off_a_byte_is_refused():
    with pytest.raises(HostError, match="bit field"):
        Btf(miniature()).offset("outer", "bits")


def test_a_missing_file_says_which_option_the_kernel_lacks(tmp_path):
    with pytest.raises(HostError, match="CONFIG_DEBUG_INFO_BTF"):
        Btf.of_kernel(tmp_path / "vmlinux")


@given(st.binary(max_size=200))
def test_garbage_raises_host_error(data):
    with pytest.raises(HostError):
        Btf(data).offset("socket", "type")


@given(st.data())
def test_offset_of_a_damaged_blob_raises_only_host_error(data):
    blob = bytearray(miniature())
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HostError):
        Btf(bytes(blob)).offset("outer", "inner", "second")


# As pahole prints them: a member, a bit field, a bit of flags.
FIELDS = {
    "5.10": [Field(538, 0, 16, False), Field(772, 0, 16, True), Field(800, 1, 1, False), Field(800, 7, 1, False)],
    "6.1": [Field(514, 0, 16, False), Field(788, 0, 16, True), Field(810, 1, 1, False), Field(810, 7, 1, False)],
    "6.12": [Field(572, 0, 16, False), Field(804, 0, 16, True), Field(794, 0, 1, False), Field(794, 1, 1, False)],
    "7.2": [Field(542, 0, 16, False), Field(828, 0, 16, True), Field(818, 0, 1, False), Field(818, 1, 1, False)],
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_sock_s_fields_of_every_recorded_kernel(name):
    types = recorded(name)
    assert [sock.find_field(types, name) for name in ("sk_type", "uc_ttl", "is_icsk", "nodefrag")] == FIELDS[name]
    assert sock.find_field(types, "sk_reuse") == Field(19, 0, 4, False)
    assert sock.find_field(types, "inet_num") == Field(14, 0, 16, False)
    assert all(sock.find_field(types, name) for name in Sock._fields)
    assert sock.constants(types)["SOCK_PRESENT"] == "0x7fff"


@pytest.mark.parametrize(("name", "bit"), [("5.10", None), ("6.1", None), ("6.12", 16), ("7.2", 16)])
def test_enumerators_of_recorded_kernels(name, bit):
    # In so small a blob the offset of a name is also a size, a type's id and another's offset.
    assert recorded(name).enumerator("INET_FLAGS_IS_ICSK") == bit
    assert recorded(name).enumerator("IPPROTO_MAX") == 263
    assert recorded(name).enumerator("sk_type") is None
    assert recorded(name).enumerator("nonesuch") is None


def test_a_field_that_the_kernel_lacks_is_left_out():
    class Without(Btf):
        def field(self, struct_name, *members):
            if members[-1] in ("nodefrag", "inet_flags", "rcv_tos"):
                raise HostError("no such member")
            return super().field(struct_name, *members)

    constants = sock.constants(Without.of_kernel(BTF / "6.1"))
    assert constants["SOCK_PRESENT"] == f"{0x7FFF & ~(1 << 7 | 1 << 14):#x}"
    assert "nodefrag" not in constants["SOCK_FIELDS(X)"]


@pytest.mark.parametrize("path", [("sock", "__sk_common"), ("socket", "sk"), ("sock", "nonesuch"), ("nonesuch", "x")])
def test_only_an_integer_member_is_a_field(path):
    with pytest.raises(HostError):
        recorded().field(*path)


@given(st.data())
def test_fields_of_a_damaged_blob_raise_only_host_error(data):
    blob = bytearray((BTF / "6.12").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HostError):
        sock.constants(Btf(bytes(blob)))


def miniature():
    """struct outer { u64 a; struct { u32 x; u32 deep; }; struct named inner; u32 bits:3 (at bit 193); }"""
    names = bytearray(b"\0")

    def name(text):
        names.extend(text.encode() + b"\0")
        return len(names) - len(text) - 1

    def record(label, members, kind_flag=0):
        head = struct.pack("<III", name(label) if label else 0, kind_flag << 31 | 4 << 24 | len(members), 32)
        return head + b"".join(struct.pack("<III", name(m) if m else 0, t, off) for m, t, off in members)

    types = record("", [("x", 0, 0), ("deep", 0, 32)])
    types += record("named", [("first", 0, 0), ("second", 0, 32)])
    types += record("outer", [("a", 0, 0), ("", 1, 64), ("inner", 2, 128), ("bits", 0, 3 << 24 | 193)], kind_flag=1)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + bytes(names)


def test_prototypes_of_a_recorded_kernel():
    btf = recorded()
    assert btf.prototype("inet_create")[:2] == (4, "32")
    assert btf.prototype("sk_alloc")[:2] == (5, "POINTER")
    assert btf.prototype("sock_init_data")[:2] == (2, "VOID")
    assert btf.prototype("sk_busy_loop_end")[:2] == (2, "8")
    assert btf.prototype("no_such_function") is None


def test_a_structure_by_value_is_seen_behind_a_typedef():
    """typedef struct { u64 a; } sockptr_t; void plain(sockptr_t *); void by_value(int, sockptr_t);"""
    names = b"\0sockptr_t\0plain\0by_value\0a\0"
    at = {name: names.index(b"\0" + name + b"\0") + 1 for name in (b"sockptr_t", b"plain", b"by_value", b"a")}

    def type_(name, kind, vlen, size_or_type, *words):
        return struct.pack(f"<III{len(words)}I", at.get(name, 0), kind << 24 | vlen, size_or_type, *words)

    types = [
        type_(b"", 4, 1, 8, at[b"a"], 0, 0),  # 1: the structure
        type_(b"sockptr_t", 8, 0, 1),  # 2: its typedef
        type_(b"", 2, 0, 2),  # 3: a pointer to it
        type_(b"", 1, 0, 4, 32),  # 4: int
        type_(b"", 13, 1, 0, 0, 3),  # 5: void (sockptr_t *)
        type_(b"", 13, 2, 0, 0, 4, 0, 2),  # 6: void (int, sockptr_t)
        type_(b"plain", 12, 1, 5),
        type_(b"by_value", 12, 1, 6),
        type_(b"", 4, 1, 8, at[b"a"], 0, 0),
    ]
    blob = b"".join(types)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(blob), len(blob), len(names))
    btf = Btf(header + blob + names)
    assert btf.prototype("plain") == Prototype(1, "VOID", 7, by_value=False)
    assert btf.prototype("by_value") == Prototype(2, "VOID", 8, by_value=True)
    btf.has_struct = lambda name: name == "bpf_tramp_image"
    assert fentry_functions(btf, ("plain", "by_value")) == {"plain": 7}


def test_the_size_of_a_structure():
    assert Btf(miniature()).size("named") == 32
    assert Btf(miniature()).size("nonesuch") is None


def test_a_structure_may_have_more_than_65535_members():
    """In Linux 7.2 vlen has 24 bits, and kind 7."""
    names = b"\0large\0last\0"
    members = b"".join(struct.pack("<III", 0, 0, 0) for _ in range(0x10000)) + struct.pack("<III", 7, 0, 64)
    types = struct.pack("<III", 1, 4 << 24 | 0x10001, 16) + members
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    assert Btf(header + types + names).offset("large", "last") == 8


def test_a_type_of_an_unknown_kind_is_stepped_over_where_the_blob_says_how_long_it_is():
    """Linux 7.2 has a layout section: struct btf_layout (sizes of the fixed part and of each entry) by kind."""
    names = b"\0after\0member\0"
    unknown = struct.pack("<III", 0, 20 << 24 | 3, 0) + bytes(8 + 3 * 4)
    types = unknown + struct.pack("<IIIIII", 1, 4 << 24 | 1, 16, 7, 2, 64)
    layout = bytes(4 * 20) + struct.pack("<BBH", 8, 4, 0)
    words = (0, len(types), len(types), len(names), len(types) + len(names), len(layout))
    header = struct.pack("<HBBIIIIIII", 0xEB9F, 1, 0, 32, *words)
    btf = Btf(header + types + names + layout)
    assert len(btf._indexes()) == 3
    assert btf.type_name("after", "member") == "after"
    with pytest.raises(HostError, match="a type of kind 20"):
        Btf(header + types + names + layout[: 4 * 20] + bytes(3))._indexes()


def test_the_name_of_a_member_s_type_is_that_of_its_typedef():
    """typedef struct { int x; } spinlock_t; struct bpf_ringbuf { spinlock_t spinlock; };"""
    names = b"\0spinlock_t\0bpf_ringbuf\0spinlock\0"
    at = {name: names.index(b"\0" + name + b"\0") + 1 for name in (b"spinlock_t", b"bpf_ringbuf", b"spinlock")}
    types = struct.pack("<III", at[b"spinlock_t"], 8 << 24, 0)
    types += struct.pack("<IIIIII", at[b"bpf_ringbuf"], 4 << 24 | 1, 4, at[b"spinlock"], 1, 0)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    assert Btf(header + types + names).type_name("bpf_ringbuf", "spinlock") == "spinlock_t"


def test_a_kind_of_7_bits_is_not_taken_for_one_of_5():
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1)
    with pytest.raises(HostError, match="a type of kind 36"):
        Btf(header + struct.pack("<III", 0, 36 << 24, 0) + b"\0")._indexes()


def blob(names, *types):
    types = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


def test_a_prototype_that_promises_more_than_there_is():
    names = b"\0f\0"
    function, prototype = struct.pack("<III", 1, 12 << 24, 2), struct.pack("<III", 0, 13 << 24 | 0xFFFFFF, 0)
    tracemalloc.start()
    try:
        with pytest.raises(HostError, match="damaged"):
            Btf(blob(names, function, prototype)).prototype("f")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_anonymous_structures_are_searched_once():
    """Each of 64 has the next one twice: 2^64 ways lead to the last."""
    names = b"\0outer\0"
    named = struct.pack("<IIIIII", 1, 4 << 24 | 1, 8, 0, 2, 0)
    others = [struct.pack("<IIIIIIIII", 0, 4 << 24 | 2, 8, 0, n, 0, 0, n, 0) for n in range(3, 67)]
    last = struct.pack("<III", 0, 4 << 24, 0)
    btf = Btf(blob(names, named, *others, last))
    assert not btf.has_member("outer", "missing")


@pytest.mark.parametrize("type_id", [9, 1])
def test_a_member_whose_type_has_no_name_to_be_read(type_id):
    names = b"\0outer\0a\0"
    outer = struct.pack("<IIIIII", 1, 4 << 24 | 1, 8, 7, type_id + 1, 0)
    odd = struct.pack("<IIII", 99, 1 << 24, 8, 64)
    with pytest.raises(HostError, match="damaged"):
        Btf(blob(names, outer, odd)).type_name("outer", "a")
