import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.errors import HostError
from inetprobe.kernel.btf import OFFSETS, Btf, Prototype, offsets

RECORDED = Path(__file__).parent / "btf"

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
    "OFF_SIGNAL_LIVE": 4,
    "OFF_CRED_CAP_EFFECTIVE": 60,
    "OFF_CRED_USER_NS": 136,
}


def recorded(name="6.1"):
    return Btf.of_kernel(RECORDED / name)


def test_offsets_of_a_recorded_kernel():
    assert offsets(recorded()) == DEBIAN_6_1


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.iterdir()))
def test_every_recorded_kernel_has_every_offset(name):
    assert set(offsets(recorded(name))) == set(OFFSETS)


def test_a_member_of_an_anonymous_struct_is_found_as_c_finds_it():
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
def test_garbage_is_refused_with_our_own_error(data):
    with pytest.raises(HostError):
        Btf(data).offset("socket", "type")


@given(st.data())
def test_a_damaged_blob_never_raises_anything_else(data):
    blob = bytearray(miniature())
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HostError):
        Btf(bytes(blob)).offset("outer", "inner", "second")


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
    assert btf.prototype("inet_create") == Prototype(4, "32")
    assert btf.prototype("sk_alloc") == Prototype(5, "POINTER")
    assert btf.prototype("sock_init_data") == Prototype(2, "VOID")
    assert btf.prototype("sk_busy_loop_end") == Prototype(2, "8")
    assert btf.prototype("no_such_function") is None
