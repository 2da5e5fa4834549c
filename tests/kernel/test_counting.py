import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.kernel.backlog import MOST, STEP, Backlog
from inetprobe.kernel.counting import Breaker, CountingSource
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.maps.cells import Counting, Tables
from inetprobe.kernel.source import LiveOptions
from inetprobe.record.batch import Batch
from inetprobe.record.filter import build
from inetprobe.record.layout import RECORD
from inetprobe.stats.snapshot import OutcomeKey, Probe


def times_away(breaker, seconds, rate):
    """The seconds at which the probes were away while ``rate`` sockets a second were made; none is seen then."""
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


def test_a_busy_one_is_looked_at_ever_more_seldom():
    away = times_away(Breaker(1000), 2000, 1001)
    starts = [second for second in away if second - 1 not in away]
    whiles = [next(later - start for later in range(start, 2001) if later not in away) for start in starts]
    assert whiles[:-1] == [10, 20, 40, 80, 160, 300, 300, 300, 300, 300][: len(whiles) - 1]
    assert len(whiles) >= 7


def test_once_calm_it_starts_anew():
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
    assert not breaker.away, "the while away is ten seconds again"


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
    ("given", "said"),
    [
        ({"comm": ("nginx*",)}, "the kernel counts, and decides no patterns: give --comm without"),
        ({"family": ("all",)}, "only inet_create and inet6_create are counted"),
    ],
)
def test_what_the_kernel_cannot_count_is_refused(given, said):
    options = LiveOptions(filters=build(given), counting=Counting((500,), 1, 1))
    with pytest.raises(UsageError, match=said):
        CountingSource(options, None, print)


def stand_in(counts, outcomes, backlog=None):
    """A CountingSource whose program counts what it is told."""
    source = CountingSource.__new__(CountingSource)
    source._bounds_ns, source._attached, source._active = (500,), True, True
    source._missed_before, source._probes, source._received = {}, {}, {None: 0}
    source._changing, source._backlog = threading.Lock(), backlog
    source._program = SimpleNamespace(
        counters=SimpleNamespace(read=lambda name: counts.get(name, 0), lost=dict, other_families=dict, accepted=dict),
        cells=SimpleNamespace(read=lambda: Tables(outcomes, {}, {}, {}, {})),
        mechanisms={"inet_create": "kprobe"},
        probe_counts=lambda: {
            "inet_create:entry": ProbeCount(9, 1, 2),
            "sched_process_exit:entry": ProbeCount(None, 0, 4),
        },
        runs=lambda: {("inet_create", "entry"): 7},
        costs=dict,
        ring=SimpleNamespace(
            much=True,
            wait=lambda timeout_s: pytest.fail("it waited"),
            drain=lambda: pytest.fail("the ring was drained"),
        ),
    )
    return source


def test_the_accounting_is_the_kernel_s_and_adds_up():
    counts = {"entries": 30, "return_missed": 2, "outcome_missed": 3, "lost_return_missed": 1, "lost_no_state": 4,
              "filtered": 5, "begun": 20, "ended": 13}  # fmt: skip
    source = stand_in(counts, {OutcomeKey(2, 1, 0, 0): 9, OutcomeKey(2, 1, 0, 1): 1})
    accounting = source.accounting()
    assert (accounting.complete, accounting.incomplete) == (8, {"return_missed": 2})
    assert accounting.lost == {"outcome_missed": 4, "no_state": 4}
    assert accounting.unaccounted() == 0
    probes = source.snapshot().probes
    assert probes["inet_create", "entry"] == Probe("kprobe", True, 7, 3)
    assert probes["sched_process_exit", "entry"] == Probe("tracepoint", True, None, 4)


def test_what_does_not_fit_here_stays_in_the_ring():
    backlog = Backlog(RECORD)
    backlog.put(Batch(np.zeros(MOST, RECORD)))
    assert len(stand_in({}, {}, backlog)._next(0)) == STEP


@pytest.mark.parametrize("much", [False, True])
def test_while_records_wait_here_the_ring_is_emptied_only_once_much_is_in_it(much):
    backlog, drained = Backlog(RECORD), []
    backlog.put(Batch(np.zeros(1, RECORD)))
    source = stand_in({}, {}, backlog)
    source._program.ring.much = much
    source._drain = lambda: drained.append("drained")
    assert len(source._next(0.1)) == 1
    assert drained == ["drained"] * much


def test_while_nothing_waits_here_it_waits_for_the_ring_and_empties_it():
    did = []
    source = stand_in({}, {}, Backlog(RECORD))
    source._program.ring.wait = did.append
    source._drain = lambda: did.append("drained")
    assert not len(source._next(0.1))
    assert did == [0.1, "drained"]
