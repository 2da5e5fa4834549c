"""The logs of the compiler and the verifier: one line of them goes into an error message."""

import pytest

from inetprobe.kernel.program.log import compiler_error, verifier_error


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("In file included from x.c\nx.c:3:1: error: unknown type name 'u33'\n1 error generated.\n",
         "x.c:3:1: error: unknown type name 'u33'"),
        ("LLVM is out of memory\n", "LLVM is out of memory"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_compiler_s_first_error(log, line):
    assert compiler_error(log) == line


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("0: (79) r1 = *(u64 *)(r1 +9)\ninvalid bpf_context access off=9 size=8\nprocessed 1 insns (limit 1000000)\n",
         "invalid bpf_context access off=9 size=8"),
        ("func#0 @0\n0: (95) exit\nR0 !read_ok\nverification time 9 usec\nstack depth 0\nprocessed 1 insns\n",
         "R0 !read_ok"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_verifier_s_last_word(log, line):
    assert verifier_error(log) == line
