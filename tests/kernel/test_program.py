"""What the attached program reports of its probes; the rest takes a kernel, and is in tests/live."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.program.program import Program


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), min_size=1))
def test_a_kprobe_s_skips_never_fall(readings):
    """Under load, calls between reading hits and runs hide skips: see Program.probe_counts."""
    program = Program.__new__(Program)
    program._fentries, program._tracepoints, program._missing_misses_said = [], [], False
    program._skips_before, program._skipped = {"sk_alloc:entry": 3}, {}
    shown = []
    for hits, skips in readings:
        program._kprobe_counts = lambda hits=hits, skips=skips: {"sk_alloc:entry": (hits, 0, skips, skips + 9)}
        shown.append(program.probe_counts()["sk_alloc:entry"].skipped)
    assert shown == sorted(shown)
    assert shown[-1] == max(0, *(skips - 3 for _, skips in readings))


def test_a_kprobe_that_cannot_be_removed_is_reported_and_the_others_are_detached(tmp_path):
    """Somebody may have written to kprobe_events meanwhile."""
    program, said = Program.__new__(Program), []
    program._say, program._tracepoints, program._fentries = said.append, [], []
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    (tmp_path / "kprobe_events").touch()
    folders = [tmp_path, tmp_path / "gone", tmp_path]
    program._kprobes = [("sk_alloc", "entry", Kprobe(fd, at, f"e{fd}")) for fd, at in zip(fds, folders, strict=True)]
    program.detach()
    assert said == [f"the kprobe e{fds[1]} (sk_alloc, entry) stays in tracefs: No such file or directory"]
    assert (tmp_path / "kprobe_events").read_text() == f"-:kprobes/e{fds[2]}\n-:kprobes/e{fds[0]}\n"
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
