import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.uapi import (
    AF_INET,
    IPPROTO_SCTP,
    IPPROTO_SMC,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)
from inetprobe.model.inetsw import INET_PROTOSW_PERMANENT, Inetsw, Protosw, lookup

PERMANENT = INET_PROTOSW_PERMANENT


def entry(protocol, flags=0, *, prot="", type_=SOCK_STREAM):
    return Protosw(AF_INET, type_, protocol, prot or f"P{protocol}", flags, "none", "unit")


def protocols(inetsw, type_=SOCK_STREAM):
    return [entry.protocol for entry in inetsw.entries(type_)]


def prots(inetsw):
    return [entry.prot for entry in inetsw.entries(SOCK_STREAM)]


def test_new_entry_comes_after_the_permanent_ones_and_before_the_others():
    inetsw = Inetsw(
        [entry(IPPROTO_TCP, PERMANENT), entry(IPPROTO_SCTP), entry(IPPROTO_UDP, PERMANENT), entry(IPPROTO_SMC)]
    )
    assert protocols(inetsw) == [IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SMC, IPPROTO_SCTP]


@pytest.mark.parametrize("flags", [0, PERMANENT])
def test_permanent_entry_cannot_be_overridden(flags):
    inetsw = Inetsw([entry(IPPROTO_TCP, PERMANENT, prot="first")])
    assert not inetsw.register(entry(IPPROTO_TCP, flags, prot="second"))
    assert prots(inetsw) == ["first"]


def test_other_entries_can_be_overridden():
    inetsw = Inetsw([entry(IPPROTO_SCTP, prot="first")])
    assert inetsw.register(entry(IPPROTO_SCTP, prot="second"))
    assert prots(inetsw) == ["second", "first"]


def test_permanent_entry_after_another_can_be_overridden():
    # inet_register_protosw() stops at the first entry that is not permanent.
    inetsw = Inetsw()
    inetsw._lists[SOCK_STREAM] = (entry(1), entry(IPPROTO_TCP, PERMANENT))
    assert inetsw.register(entry(IPPROTO_TCP, prot="new"))
    assert prots(inetsw) == ["new", "P1", "P6"]


def test_each_type_has_its_list():
    inetsw = Inetsw([entry(IPPROTO_TCP), entry(IPPROTO_UDP, type_=SOCK_DGRAM)])
    assert protocols(inetsw, SOCK_STREAM) == [IPPROTO_TCP]
    assert protocols(inetsw, SOCK_DGRAM) == [IPPROTO_UDP]
    assert protocols(inetsw, SOCK_RAW) == []


@pytest.mark.parametrize(
    ("listed", "protocol", "expected"),
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
def test_lookup(listed, protocol, expected):
    answer = lookup([entry(number) for number in listed], protocol)
    assert (None if answer is None else answer.protocol) == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8), st.integers(-1, 6))
def test_lookup_finds_the_first_match(listed, protocol):
    """Compared with the rule in one expression, over tables of any shape."""
    inetsw = Inetsw(entry(number, PERMANENT * permanent) for number, permanent in listed)
    entries = inetsw.entries(SOCK_STREAM)
    matching = [e for e in entries if (protocol != 0 and e.protocol in (protocol, 0)) or (protocol == 0 < e.protocol)]
    assert lookup(entries, protocol) == (matching[0] if matching else None)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8))
def test_permanent_entries_come_first_without_duplicates(listed):
    inetsw = Inetsw(entry(number, PERMANENT * permanent) for number, permanent in listed)
    entries = inetsw.entries(SOCK_STREAM)
    flags = [bool(entry.flags & PERMANENT) for entry in entries]
    assert flags == sorted(flags, reverse=True)
    permanent = [entry.protocol for entry in entries if entry.flags & PERMANENT]
    assert len(permanent) == len(set(permanent))
