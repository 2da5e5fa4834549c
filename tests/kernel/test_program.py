"""What the attached program reports of its probes; the rest takes a kernel, and is in tests/live."""

from hypothesis import given
from hypothesis import strategies as st

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
