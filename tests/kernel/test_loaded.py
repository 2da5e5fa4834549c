"""The loader: maps and kernel functions in the place of their indices, and a refusal with its reason."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host import syscall
from inetprobe.kernel.program import loaded
from inetprobe.kernel.program.loaded import Loaded, LoadError

MAPS = {0: 80, 1: 50, 3: 60, 8: 90}
KFUNCS = (30_000, 40_000)


def insn(code, source, imm):
    return struct.pack("<BBhi", code, source << 4 | 1, 0, imm)


def constant(source, imm, high=0):
    """A 64-bit constant, which takes two instructions."""
    return insn(0x18, source, imm) + insn(0, 0, high)


WORDS = st.integers(-(1 << 31), (1 << 31) - 1)
NAMED = st.tuples(st.sampled_from([1, 2]), st.sampled_from([*MAPS]), WORDS)
KFUNC = st.sampled_from(range(len(KFUNCS))).map(lambda index: (index,))
# Any constant, a move of one, also where it looks like a map's index, and calls of helpers.
OTHERS = st.one_of(
    st.builds(lambda imm, high: constant(0, imm, high), st.sampled_from([*MAPS]) | WORDS, WORDS),
    st.builds(lambda imm: insn(0xB7, 0, imm), st.sampled_from([*MAPS]) | WORDS),
    st.builds(lambda imm: insn(0xB7, 1, imm), st.sampled_from([*MAPS]) | WORDS),
    st.builds(lambda helper: struct.pack("<BBhi", 0x85, 0, 0, helper), st.integers(1, 300)),
)
CODE = st.lists(NAMED | KFUNC | OTHERS, max_size=8)


def as_compiled(part):
    """A constant that is a map by its index, or the call of a kernel function by its own."""
    return constant(*part) if len(part) > 1 else struct.pack("<BBhi", 0x85, 0, 0, 65536 + part[0])


def as_loaded(part):
    """With a map's descriptor and BPF_PSEUDO_MAP_*, or a function's BTF id and BPF_PSEUDO_KFUNC_CALL."""
    if len(part) == 1:
        return struct.pack("<BBhi", 0x85, 2 << 4, 0, KFUNCS[part[0]])
    source, index, high = part
    return constant(source, MAPS[index], high)


def code(parts, named):
    return b"".join(part if isinstance(part, bytes) else named(part) for part in parts)


@given(CODE, CODE)
def test_maps_and_kernel_functions_are_named_as_the_kernel_does_and_nothing_else_changes(first, second):
    calls = []

    def load(type_, name, text, btf_id):
        calls.append((type_, name, text, btf_id))
        return 1000 + len(calls)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded.syscall, "load_program", load)
        program = Loaded({"first": code(first, as_compiled), "second": code(second, as_compiled)}, MAPS, KFUNCS, None)
        fds = (program.load("first", syscall.KPROBE), program.load("second", syscall.FEXIT, 7))
        assert (*fds, program.load("first", syscall.KPROBE)) == (1001, 1002, 1001)
    assert calls == [
        (syscall.KPROBE, "first", code(first, as_loaded), 0),
        (syscall.FEXIT, "second", code(second, as_loaded), 7),
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
            Loaded({"it": insn(0x95, 0, 0)}, {}, (), shown.append).load("it", syscall.KPROBE)
    assert shown == log.splitlines()


def test_closing_closes_the_functions():
    program = Loaded({}, {}, (), None)
    program.functions["it"] = fd = os.open("/dev/null", os.O_RDONLY)
    program.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
