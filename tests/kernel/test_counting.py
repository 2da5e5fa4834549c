from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.kernel.counting import Breaker, CountingSource
from inetprobe.kernel.host.kallsyms import PATH
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps.cells import Counting, Tables
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.filter import build
from inetprobe.record.layout import RECORD
from inetprobe.stats.snapshot import Histogram, OutcomeKey, Probe
from tests.support import attached


def times_away(breaker, seconds, rate):
    """The seconds at which the probes were detached, with ``rate`` sockets per second; none is counted then."""
    away, entries = [], 0
    for second in range(seconds):
        if breaker.away:
            away.append(second)
        else:
            entries += rate
        breaker.look(second, entries)
    return away


def test_a_calm_machine_keeps_its_probes():
    assert times_away(Breaker(1000), 600, 1000) == []


def test_on_a_busy_machine_each_pause_is_longer_up_to_a_limit():
    away = times_away(Breaker(1000), 2000, 1001)
    starts = [second for second in away if second - 1 not in away]
    pauses = [next(later - start for later in range(start, 2001) if later not in away) for start in starts]
    assert pauses[:-1] == [10, 20, 40, 80, 160, 300, 300, 300, 300, 300][: len(pauses) - 1]
    assert len(pauses) >= 7


def test_after_a_calm_second_the_pause_is_short_again():
    breaker = Breaker(10)
    breaker.look(0, 0)
    breaker.look(1, 100)
    assert breaker.away
    breaker.look(11, 100)
    assert not breaker.away
    breaker.look(12, 105)
    assert not breaker.away
    breaker.look(13, 300)
    breaker.look(22.5, 300)
    assert breaker.away
    breaker.look(23, 300)
    assert not breaker.away, "the pause is ten seconds again"


@given(st.integers(1, 10**6), st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 10**7)), max_size=50))
def test_it_trips_exactly_above_the_rate(limit, steps):
    breaker, now, entries = Breaker(limit), 0.0, 0
    breaker.look(now, entries)
    for seconds, made in steps:
        before = now
        now, entries = now + seconds, entries + made
        breaker.look(now, entries)
        assert breaker.away == (made / (now - before) > limit)
        if breaker.away:
            return


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"comm": ("nginx*",)}, "the kernel counts, and decides no patterns: give --comm without"),
        ({"family": ("all",)}, "only inet_create and inet6_create are counted"),
    ],
)
def test_filters_that_the_kernel_cannot_decide_are_refused(given, error):
    options = TraceOptions(filters=build(given), counting=Counting())
    with pytest.raises(UsageError, match=error):
        CountingSource.of_kernel(options, print)


NO_CALLS = Histogram((0, 0), 0)


def counting_source(counts, outcomes):
    """A CountingSource whose kernel has counted ``counts`` and ``outcomes``."""
    program = attached.program(
        lambda: np.zeros(0, RECORD),
        counts=counts,
        cells=SimpleNamespace(read=lambda: Tables(outcomes, {}, {}, dict.fromkeys(PATH, NO_CALLS), {}, {})),
        mechanisms={"inet_create": "kprobe"},
        probe_counts=lambda: {
            "inet_create:entry": ProbeCount(9, 1, 2),
            "sched_process_exit:entry": ProbeCount(None, 0, 4),
        },
        runs=lambda: {("inet_create", "entry"): 7, ("inet_create", "return"): 8},
        costs=dict,
    )
    return CountingSource(attached.attached(program), Counting((500,)), print)


def test_the_accounting_is_the_kernel_s_and_adds_up():
    counts = {"entries": 30, "return_missed": 2, "outcome_missed": 3, "lost_return_missed": 1, "lost_no_state": 4,
              "filtered": 5, "begun": 20, "ended": 13}  # fmt: skip
    source = counting_source(counts, {OutcomeKey(2, 1, 0, 0): 9, OutcomeKey(2, 1, 0, 1): 1})
    accounting = source.accounting()
    assert (accounting.complete, accounting.incomplete) == (8, {"return_missed": 2})
    assert accounting.failed == {"EPERM": 1}
    assert accounting.lost == {"outcome_missed": 4, "no_state": 4}
    assert accounting.unaccounted() == 0
    probes = source.snapshot().probes
    assert probes["inet_create", "entry"] == Probe("kprobe", True, 7, 3)
    assert source.snapshot().call_durations.keys() == {"inet_create"}  # the others are not traced
    assert probes["inet_create", "return"] == Probe("kprobe", True, 8, None)  # nothing counts its misses: not 0
    assert probes["sched_process_exit", "entry"] == Probe("tracepoint", True, None, 4)


@pytest.mark.parametrize(("in_flight", "waits_s"), [(0, 0.0), (1, 5.0)])
def test_probes_are_detached_even_if_a_trace_never_ends(monkeypatch, in_flight, waits_s):
    now, detached = [100.0], []
    program = attached.program(
        lambda: np.zeros(0, RECORD),
        lambda event: detached.append(now[0]) if event == "detach" else None,
        counts={"begun": in_flight},
        mechanisms={},
    )
    source = CountingSource(attached.attached(program), Counting((500,), max_rate=1), lambda line: None)
    monkeypatch.setattr("inetprobe.kernel.counting.time.monotonic", lambda: now[0])
    source.start()
    breaker = Breaker(1)
    breaker.look(99.0, 0)
    breaker.look(100.0, 10)
    while not detached:
        source._obey(breaker)
        now[0] += 0.5
    assert detached == [100.0 + waits_s]
