"""Labels: the C headers' names, the caps, and values that stay as they are."""

from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base import uapi
from inetprobe.commands.serve.metrics.labels import OTHER, CappedLabel, Labels, fixed


def test_values_are_the_headers_names_or_else_numbers():
    labels = Labels()
    assert [labels.family(n) for n in (2, 10, 1)] == ["AF_INET", "AF_INET6", "AF_UNIX"]
    assert [labels.socket_type(n) for n in (1, 3, 7)] == ["SOCK_STREAM", "SOCK_RAW", "7"]
    assert [labels.protocol(n) for n in (0, 6, 200, -1, None)] == ["IPPROTO_IP", "IPPROTO_TCP", "200", "-1", OTHER]
    assert [labels.errno(n) for n in (1, 93, 524, None)] == ["EPERM", "EPROTONOSUPPORT", "524", OTHER]
    assert labels.module(None) == OTHER
    assert labels.function("inet_create") == "inet_create"


def test_at_most_64_protocols_have_a_value_and_named_ones_always_do():
    labels = Labels()
    tried = [labels.protocol(number) for number in range(1000, 2000)]
    assert tried.count(OTHER) == 1000 - (64 - len(uapi.PROTOCOLS))
    assert [labels.protocol(number) for number in uapi.PROTOCOLS] == list(uapi.PROTOCOLS.values())
    assert len({*tried, *uapi.PROTOCOLS.values()} - {OTHER}) == 64


def test_at_most_64_modules_have_a_value():
    labels = Labels()
    tried = [labels.module(f"net-pf-2-proto-{number}") for number in range(5000)]
    assert len(set(tried) - {OTHER}) == 64


def test_every_type_that_fits_under_the_mask_has_a_value():
    labels = Labels()
    assert labels.socket_type(16) == labels.socket_type(-1) == OTHER
    assert OTHER not in [labels.socket_type(number) for number in range(16)]


@given(st.lists(st.integers(-5, 40)), st.integers(1, 12))
def test_a_value_is_kept_and_a_text_under_other_stays_there(tried, max_values):
    values = CappedLabel(max_values, ("1",))
    first = {}
    for number in tried:
        value = values.value(str(number))
        assert value in (str(number), OTHER)
        assert first.setdefault(number, value) == value
    assert len(set(first.values()) - {OTHER, "1"}) <= max_values - 1


def test_an_unknown_value_of_a_fixed_set_is_other():
    assert fixed("kprobe", ("kprobe", "fentry")) == "kprobe"
    assert fixed('"} 1', ("kprobe", "fentry")) == OTHER
