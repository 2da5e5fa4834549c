"""What the attached program reports of its probes; the rest takes a kernel, and is in tests/live."""

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.program import program as program_module
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


def test_the_kernel_s_own_count_of_skips_begins_with_activate(monkeypatch):
    """From Linux 6.7 on, and where tracefs cannot be written, too."""
    skips = {7: 5, 8: 0}
    monkeypatch.setattr(program_module.syscall, "program_info", lambda fd: SimpleNamespace(recursion_misses=skips[fd]))
    program = Program.__new__(Program)
    program._target = SimpleNamespace(counts_skips=True)
    program._fentries, program._tracepoints, program._missing_misses_said = [], [], False
    program._kprobes = [("sk_alloc", side, Kprobe(-1, None, None)) for side in ("entry", "return")]
    program._loaded = SimpleNamespace(functions={"entry_sk_alloc": 7, "return_sk_alloc": 8})
    program._tracefs, program._skipped, program._skips_before = None, {}, {}
    program.counters = SimpleNamespace(begin=lambda *, on: None)
    program.activate()
    skips.update({7: 12, 8: 1})
    counts = program.probe_counts()
    assert counts == {"sk_alloc:entry": ProbeCount(None, 0, 7), "sk_alloc:return": ProbeCount(None, 0, 1)}
