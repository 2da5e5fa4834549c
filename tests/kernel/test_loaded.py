"""The loader: each map's descriptor in the place of its index, and a refusal with its reason."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host import syscall
from inetprobe.kernel.program import loaded
from inetprobe.kernel.program.loaded import Loaded, LoadError

MAPS = {0: 80, 1: 50, 3: 60, 8: 90}


def insn(code, source, imm):
    return struct.pack("<BBhi", code, source << 4 | 1, 0, imm)


def constant(source, imm, high=0):
    """A 64-bit constant, which takes two instructions."""
    return insn(0x18, source, imm) + insn(0, 0, high)


WORDS = st.integers(-(1 << 31), (1 << 31) - 1)
NAMED = st.tuples(st.sampled_from([1, 2]), st.sampled_from([*MAPS]), WORDS)
# Any constant, and a move of one, also where it looks like a map's index.
OTHERS = st.one_of(
    st.builds(lambda imm, high: constant(0, imm, high), st.sampled_from([*MAPS]) | WORDS, WORDS),
    st.builds(lambda imm: insn(0xB7, 0, imm), st.sampled_from([*MAPS]) | WORDS),
    st.builds(lambda imm: insn(0xB7, 1, imm), st.sampled_from([*MAPS]) | WORDS),
)
CODE = st.lists(NAMED | OTHERS, max_size=8)


def code(parts, names):
    return b"".join(part if isinstance(part, bytes) else constant(part[0], names[part[1]], part[2]) for part in parts)


@given(CODE, CODE)
def test_each_map_is_named_by_its_descriptor_and_nothing_else_changes(first, second):
    calls = []

    def load(type_, name, text, btf_id):
        calls.append((type_, name, text, btf_id))
        return 1000 + len(calls)

    same = {index: index for index in MAPS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded.syscall, "load_program", load)
        program = Loaded({"first": code(first, same), "second": code(second, same)}, MAPS, None)
        fds = (program.load("first", syscall.KPROBE), program.load("second", syscall.FEXIT, 7))
        assert (*fds, program.load("first", syscall.KPROBE)) == (1001, 1002, 1001)
    assert calls == [
        (syscall.KPROBE, "first", code(first, MAPS), 0),
        (syscall.FEXIT, "second", code(second, MAPS), 7),
    ]


@pytest.mark.parametrize(
    ("log", "reason"),
    [("", "Permission denied"), ("0: (95) exit\nR0 !read_ok\ninvalid register\n", "invalid register")],
)
def test_a_refused_function_says_the_kernel_s_reason(log, reason):
    def refuse(*_):
        raise syscall.ProgramRefused(13, log)

    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded.syscall, "load_program", refuse)
        with pytest.raises(LoadError, match=f"^it: {reason}$"):
            Loaded({"it": insn(0x95, 0, 0)}, {}, shown.append).load("it", syscall.KPROBE)
    assert shown == log.splitlines()


def test_closing_closes_the_functions():
    program = Loaded({}, {}, None)
    program.functions["it"] = fd = os.open("/dev/null", os.O_RDONLY)
    program.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
