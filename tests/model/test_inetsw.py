import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.model.inetsw import INET_PROTOSW_PERMANENT, Inetsw, Protosw, walk

PERMANENT = INET_PROTOSW_PERMANENT


def entry(protocol, flags=0, *, name="", type_=1):
    return Protosw(2, type_, protocol, name or f"P{protocol}", flags, "none", "unit")


def protocols(table, type_=1):
    return [found.protocol for found in table.entries(type_)]


def test_a_later_entry_stands_behind_the_permanent_ones_and_before_the_others():
    table = Inetsw([entry(6, PERMANENT), entry(132), entry(17, PERMANENT), entry(256)])
    assert protocols(table) == [6, 17, 256, 132]


def test_a_permanent_entry_s_protocol_cannot_be_taken():
    table = Inetsw([entry(6, PERMANENT, name="first")])
    assert not table.register(entry(6, name="second"))
    assert not table.register(entry(6, PERMANENT, name="third"))
    assert [found.prot for found in table.entries(1)] == ["first"]


def test_another_entry_s_protocol_can_be_taken():
    table = Inetsw([entry(132, name="first")])
    assert table.register(entry(132, name="second"))
    assert [found.prot for found in table.entries(1)] == ["second", "first"]


def test_a_permanent_entry_behind_one_that_is_not_is_not_looked_at():
    # inet_register_protosw() stops at the first entry that is not permanent.
    table = Inetsw()
    table._lists[1] = (entry(1), entry(6, PERMANENT))
    assert table.register(entry(6, name="new"))
    assert [found.prot for found in table.entries(1)] == ["new", "P1", "P6"]


def test_types_have_lists_of_their_own():
    table = Inetsw([entry(6), entry(17, type_=2)])
    assert (protocols(table, 1), protocols(table, 2), protocols(table, 3)) == ([6], [17], [])


@pytest.mark.parametrize(
    ("listed", "protocol", "found"),
    [
        ([], 0, None),
        ([], 6, None),
        ([6], 6, 6),
        ([6], 0, 6),
        ([6], 17, None),
        ([6, 132], 0, 6),
        ([6, 132], 132, 132),
        ([0], 0, None),
        ([0], 1, 0),
        ([0], -1, 0),
        ([0, 6], 0, 6),
        ([0, 6], 6, 0),
        ([6, 0], 6, 6),
        ([6, 0], 17, 0),
        ([6, 0], 0, 6),
    ],
)
def test_walk(listed, protocol, found):
    answer = walk([entry(number) for number in listed], protocol)
    assert (None if answer is None else answer.protocol) == found


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8), st.integers(-1, 6))
def test_walk_finds_the_first_that_matches(listed, protocol):
    """Against the rule as a sentence has it, over tables of any shape."""
    table = Inetsw(entry(number, PERMANENT * permanent) for number, permanent in listed)
    entries = table.entries(1)
    matching = [e for e in entries if (protocol != 0 and e.protocol in (protocol, 0)) or (protocol == 0 < e.protocol)]
    assert walk(entries, protocol) == (matching[0] if matching else None)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8))
def test_permanent_entries_come_first_and_once(listed):
    table = Inetsw(entry(number, PERMANENT * permanent) for number, permanent in listed)
    flags = [bool(found.flags & PERMANENT) for found in table.entries(1)]
    assert flags == sorted(flags, reverse=True)
    permanent = [found.protocol for found in table.entries(1) if found.flags & PERMANENT]
    assert len(permanent) == len(set(permanent))
