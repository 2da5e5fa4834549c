"""A program that cannot be kept is compiled all the same, and says so to who asks."""

import pytest

from inetprobe.kernel.program import compiler
from inetprobe.kernel.program.code import Compiled

PROGRAM = Compiled((), {"it": b""})


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """(the program, how often it was compiled, notes, what -v shows) of a start."""
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))
    calls = []
    monkeypatch.setattr(compiler, "_compile", lambda *given: (calls.append(given), PROGRAM)[1])

    def start(constants, map_constants):
        said, shown = [], []
        calls.clear()
        program = compiler.compiled(None, constants, map_constants, (5,), said.append, shown.append)
        return program, len(calls), said, shown

    return start


def test_it_is_compiled_once_whatever_the_descriptors_are(compiled):
    assert compiled({"A": 1}, {"MAP_FD": 5}) == (PROGRAM, 1, [], [])
    assert compiled({"A": 1}, {"MAP_FD": 6}) == (PROGRAM, 0, [], [])
    assert compiled({"A": 2}, {"MAP_FD": 6}) == (PROGRAM, 1, [], [])


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), RuntimeError("no home folder")])
def test_without_a_name_or_a_folder_it_is_compiled_each_time(compiled, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(compiler.code_cache, "key", fail)
    for _ in range(2):
        assert compiled({}, {}) == (PROGRAM, 1, [], [f"the compiled program is not cached: {error}"])
