"""The logs of the compiler and the verifier: one line of them goes into an error message."""

import pytest

from inetprobe.kernel.program.log import telling


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("In file included from x.c\nx.c:3:1: error: unknown type name 'u33'\n1 error generated.\n",
         "x.c:3:1: error: unknown type name 'u33'"),
        ("0: (79) r1 = *(u64 *)(r1 +9)\ninvalid bpf_context access off=9 size=8\nprocessed 1 insns\n",
         "invalid bpf_context access off=9 size=8"),
        ("\n  the only line\n", "the only line"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_line_that_says_what_is_wrong(log, line):
    assert telling(log) == line
