"""What the compiler and the verifier write: a line of it for everybody, all of it with --verbose."""

import os

import pytest

from inetprobe.kernel.program import log as log_of

LOG = b"In file included from x.c\nx.c:3:1: error: unknown type name 'u33'\n1 error generated.\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_it_is_kept_for_the_message_and_told_whole_if_asked_for(verbose, capfd):
    told = []
    with log_of.captured_stderr((lambda line: told.append((line, os.write(2, b"!")))) if verbose else None) as log:
        os.write(2, LOG)
        assert log_of.telling(log()) == "x.c:3:1: error: unknown type name 'u33'"
    assert [line for line, _ in told] == (LOG.decode().splitlines() if verbose else [])
    assert capfd.readouterr().err == "!" * len(told)  # by then the user's stderr is the user's again
