"""A program that was compiled at an earlier start traces as one that was compiled just now."""

import sys

import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.program import compiler
from tests.live.conftest import accounted, inetprobe, shape

PROGRAM = """
import contextlib, socket
for family, type_, protocol in (2, 1, 0), (10, 2, 17), (2, 3, 1), (2, 1, 17), (2, 2, 77):
    with contextlib.suppress(OSError): socket.socket(family, type_, protocol).close()
"""


def no_compiler(*_args, **_kwargs):
    raise HostError("there is no compiler any more")


def seen(result):
    return [
        (trace["type"], trace["protocol"], trace["errno"], trace["verdict"], shape(trace)) for trace in result.traces
    ]


@pytest.mark.usefixtures("compiling_here")
def test_the_second_start_compiles_nothing(tmp_path, monkeypatch):
    def run():
        return inetprobe("trace", "--format", "json", "--", sys.executable, "-c", PROGRAM)

    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path))
    first = run()
    assert len(first.traces) == 5
    [file] = (tmp_path / "bpf").iterdir()

    monkeypatch.setattr(compiler, "compile_program", no_compiler)
    second = run()
    assert accounted(second.summary)
    assert seen(second) == seen(first)

    file.write_bytes(file.read_bytes()[:-1])
    third = run()
    assert third.status == 3
    assert f"{file} is damaged: compiling again" in third.err
    assert "there is no compiler any more" in third.err
