"""The logs of the compiler and the verifier: one line in the error message, all lines with --verbose."""

import os

import pytest

from inetprobe.kernel.program import log as log_of

LOG = b"In file included from x.c\nx.c:3:1: error: unknown type name 'u33'\n1 error generated.\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_is_captured_and_shown_whole_with_verbose(verbose, capfd):
    shown = []
    with log_of.captured_stderr((lambda line: shown.append((line, os.write(2, b"!")))) if verbose else None) as log:
        os.write(2, LOG)
        assert log_of.telling(log()) == "x.c:3:1: error: unknown type name 'u33'"
    assert [line for line, _ in shown] == (LOG.decode().splitlines() if verbose else [])
    assert capfd.readouterr().err == "!" * len(shown)  # by then the user's stderr is the user's again
