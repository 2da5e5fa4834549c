"""The statistics, compared with those of scipy and statsmodels, and properties that hold for any sample."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.stats.sample import Reservoir, quantile
from inetprobe.stats.significance import FISHER, TWO_PROPORTIONS, holm, mann_whitney, proportions

values = st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60)
# (hits, of how many)
shares = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def durations(numbers):
    return np.array(numbers, np.uint64)


@pytest.mark.parametrize(
    ("one", "other", "superiority", "p"),
    [
        (
            [7, 3, 9, 12, 5, 5, 8, 14, 2, 6],
            [5, 11, 13, 5, 19, 16, 12, 12, 20, 8, 9],
            0.23636363636363636,
            0.04365201427114325,
        ),
        ([1, 1, 2, 2, 3] * 6, [2, 2, 3, 3, 4] * 7, 0.2, 1.2800280140731592e-05),
        (range(0, 60, 2), range(1, 41), 0.6416666666666667, 0.04422552870594841),
    ],
)
def test_mann_whitney_is_scipys(one, other, superiority, p):
    # scipy.stats.mannwhitneyu(one, other, method="asymptotic"), scipy 1.17
    ranks = mann_whitney(durations(one), durations(other))
    assert ranks.superiority == pytest.approx(superiority)
    assert ranks.p == pytest.approx(p)


@pytest.mark.parametrize(
    ("table", "test", "p"),
    [
        # scipy.stats.fisher_exact
        ((3, 11, 0, 2000), FISHER, 1.2191218914012644e-07),
        ((1, 20, 8, 25), FISHER, 0.030459047475496718),
        ((0, 50, 6, 40), FISHER, 0.006164937049423332),
        ((4, 1_000_000, 0, 1_000_000), FISHER, 0.1249996250172847),
        ((7, 7, 2, 9), FISHER, 0.0032342657342657346),
        # statsmodels.stats.proportion.proportions_ztest
        ((120, 1000, 90, 1100), TWO_PROPORTIONS, 0.0035811640331237463),
        ((300, 2000, 20, 2000), TWO_PROPORTIONS, 7.250713791812777e-60),
    ],
)
def test_proportions_are_scipys(table, test, p):
    assert proportions(*table) == (test, pytest.approx(p))


def test_holm_is_statsmodels():
    # statsmodels.stats.multitest.multipletests(…, method="holm")
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert holm([]) == []


@given(values, values)
def test_mann_whitney_is_symmetric(one, other):
    there, back = mann_whitney(durations(one), durations(other)), mann_whitney(durations(other), durations(one))
    assert there.p == pytest.approx(back.p)
    assert there.superiority == pytest.approx(1 - back.superiority)


@given(values, values)
def test_mann_whitney_depends_on_the_order_alone(one, other):
    def moved(numbers):
        return durations([number * 3 + 7 for number in numbers])

    assert mann_whitney(moved(one), moved(other)) == mann_whitney(durations(one), durations(other))


@given(values)
def test_a_sample_never_differs_from_itself(one):
    assert mann_whitney(durations(one), durations(one)) == (0.5, 1.0)


@given(shares, shares)
def test_proportions_are_symmetric_and_of_failures_as_of_successes(one, other):
    p = proportions(*one, *other).p
    assert 0 <= p <= 1
    assert proportions(*other, *one).p == pytest.approx(p, rel=1e-6)
    failures = [(n - hits, n) for hits, n in (one, other)]
    assert proportions(*failures[0], *failures[1]).p == pytest.approx(p, rel=1e-6)


@given(shares)
def test_a_share_never_differs_from_itself(one):
    assert proportions(*one, *one).p == pytest.approx(1)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_only_ever_raises_and_keeps_the_order(chances):
    corrected = holm(chances)
    assert all(chance <= raised <= 1 for chance, raised in zip(chances, corrected, strict=True))
    assert [corrected[i] for i in np.argsort(chances, kind="stable")] == sorted(corrected)


@given(values, st.sampled_from([50, 90, 95, 99]))
def test_a_quantile_is_the_lowest_value_that_enough_do_not_exceed(one, percent):
    found = quantile(durations(one), percent)
    assert found in one
    need = math.ceil(len(one) * percent / 100)
    assert sum(value <= found for value in one) >= need
    assert sum(value < found for value in one) < need


def test_a_reservoir_is_everything_until_it_is_full():
    reservoir = Reservoir(size=10)
    reservoir.add(durations(range(4)))
    reservoir.add(durations(range(4, 10)))
    assert reservoir.values.tolist() == list(range(10))
    assert not reservoir.sampled


def test_a_full_reservoir_is_a_fair_sample_and_the_same_each_time():
    def sample():
        reservoir = Reservoir(size=2000)
        for start in range(0, 100_000, 4096):
            reservoir.add(durations(range(start, min(start + 4096, 100_000))))
        return reservoir

    one = sample()
    assert one.sampled
    assert one.count == 100_000
    assert len(one.values) == 2000
    assert np.array_equal(one.values, sample().values)
    # A fair sample's ten parts each have 200, give or take 14 or so.
    parts = np.histogram(one.values, bins=10, range=(0, 100_000))[0]
    assert parts.min() > 140
    assert parts.max() < 260


def test_failures_and_successes_use_the_same_test_at_the_limit():
    assert proportions(434, 444, 444, 444).p == pytest.approx(proportions(10, 444, 0, 444).p)
