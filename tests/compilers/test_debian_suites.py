"""The BPF program in all its variants, compiled by the bcc and LLVM of every suite of Debian."""

import sys
from pathlib import Path

import pytest

from inetprobe.kernel.program import compiler
from inetprobe.record.cheader import bpf_folder
from tests.support import debian_suite
from tests.support.variants import CASES, assert_complete, ids, variant

# include/uapi/linux/bpf.h. An instruction's class is in the low three bits of its first byte.
BPF_LDX, BPF_STX, BPF_ALU, BPF_JMP32, BPF_ALU64 = 1, 3, 4, 6, 7
BPF_END, BPF_MEMSX, BPF_ATOMIC, BPF_ADD = 0xD0, 0x80, 0xC0, 0


@pytest.fixture(scope="module", name="pythons")
def _pythons():
    """The suites' Pythons, fetched where they are not in the cache."""
    return {suite: debian_suite.python(suite) for suite in debian_suite.SUITES}


def needs_v3(instruction):
    """Does clang write this instruction for -mcpu=v3 and v4 only? inetprobe has not run with such programs."""
    opcode, offset, immediate = instruction[0], instruction[2:4], int.from_bytes(instruction[4:], "little")
    return {
        BPF_ALU: opcode & 0xF0 != BPF_END,
        BPF_JMP32: True,
        BPF_ALU64: opcode & 0xF0 == BPF_END or offset != b"\0\0",
        BPF_LDX: opcode & 0xE0 == BPF_MEMSX,
        BPF_STX: opcode & 0xE0 == BPF_ATOMIC and immediate != BPF_ADD,
    }.get(opcode & 7, False)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_bcc_of_every_suite_compiles_it(case, pythons, monkeypatch):
    defines, made, traced = variant(case)
    text = (bpf_folder() / "inetprobe.bpf.c").read_text()
    names, sizes = {}, {}
    name, _, task_storage = case
    if not task_storage and name not in ("trace", "everything"):  # which differs in one map
        pythons = {"bookworm": pythons["bookworm"]}
    for suite, python in pythons.items():
        monkeypatch.setattr(sys, "executable", str(python))
        code = compiler.compile_program(text, defines, None)
        libraries = {Path(path).name.partition(".")[0].partition("-")[0] for path, *_ in code.libraries}
        assert libraries == {"libbcc", "libLLVM", "libclang"}
        assert all(Path(path).is_relative_to(python.parents[2]) for path, *_ in code.libraries)
        functions = code.functions
        assert_complete(functions, made, traced)
        words = [body[at : at + 8] for body in functions.values() for at in range(0, len(body), 8)]
        assert [word.hex() for word in words if needs_v3(word)] == []
        names[suite], sizes[suite] = set(functions), len(words)
    assert all(names[suite] == names["bookworm"] for suite in names)
    assert max(sizes.values()) <= 1.15 * min(sizes.values()), sizes


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("bf16000000000000", False),  # r6 = r1
        ("bc16000000000000", True),  # w6 = w1
        ("dc01000010000000", False),  # r1 = be16 r1
        ("d701000010000000", True),  # r1 = bswap16 r1
        ("bf16080000000000", True),  # r6 = (s8)r1
        ("5501050000000000", False),  # if r1 != 0 goto +5
        ("5601050000000000", True),  # if w1 != 0 goto +5
        ("0600000010000000", True),  # gotol +16
        ("7961000000000000", False),  # r1 = *(u64 *)(r6 + 0)
        ("8161000000000000", True),  # r1 = *(s32 *)(r6 + 0)
        ("db16000000000000", False),  # lock *(u64 *)(r6 + 0) += r1
        ("db16000001000000", True),  # r1 = atomic_fetch_add((u64 *)(r6 + 0), r1)
    ],
)
def test_instructions_of_v3_are_known(instruction, expected):
    assert needs_v3(bytes.fromhex(instruction)) is expected
