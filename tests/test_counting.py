import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.errors import UsageError
from inetprobe.filters import build
from inetprobe.kernel.cells import Counting
from inetprobe.sources.counting import Breaker, CountingSource
from inetprobe.sources.live import LiveOptions


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
