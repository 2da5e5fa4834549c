import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.model import question as request
from inetprobe.model.profile import BUILT_IN_PROFILES

EXAMPLE = {
    "kernel": "6.1", "family": 2, "type": 1, "protocol": 132, "cap_net_raw": True, "loaded": ["sctp"], "loadable": [],
    "ping_group_allowed": False, "mptcp_enabled": True,
}  # fmt: skip


def answer(**changes):
    question = request.parse_line(json.dumps({**EXAMPLE, **changes}), None)
    return question, question.answer()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP)", (2, 3 | 0o2000000, 1, None)),
        ("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3", (2, 1, 0, "ok")),
        ("12:00:01 [pid 17] socket(AF_INET6, SOCK_DGRAM|SOCK_NONBLOCK, 58) = -1 EACCES (Permission denied)",
         (10, 2 | 0o4000, 58, "EACCES")),
        ("socket(AF_INET, SOCK_STREAM, 0xc8 /* IPPROTO_??? */) = -1 EPROTONOSUPPORT", (2, 1, 200, "EPROTONOSUPPORT")),
        ("socket.socket(AF_INET,SOCK_DGRAM,0)", (2, 2, 0, None)),
        ("socket(PF_INET, 0x80001, -1)", (2, 0x80001, -1, None)),
    ],
)  # fmt: skip
def test_a_call_pasted_from_strace(text, parsed):
    assert request.parse_call(text) == parsed


@pytest.mark.parametrize("text", ["", "socket(", "socket(AF_INET, SOCK_STREAM)", "connect(3, 0, 0)", "socket(A, B, C)"])
def test_what_is_no_call_is_one_sentence(text):
    with pytest.raises(UsageError):
        request.parse_call(text)


def test_names_do_as_well_as_numbers():
    named = answer(family="AF_INET", type="SOCK_STREAM|SOCK_CLOEXEC", protocol="sctp")[1]
    assert named == answer()[1]


def test_what_never_reaches_inet_create():
    asked = [{"type": 10}, {"type": 10, "cap_net_raw": False}, {"type": 12}, {"family": 99}]
    answers = [answer(**changes)[1] for changes in asked]
    assert [(a.errno, [call.function for call in a.calls]) for a in answers] == [
        (None, ["sk_alloc", "sk_prot_alloc"]), ("EPERM", []), ("EINVAL", []), ("EAFNOSUPPORT", []),
    ]  # fmt: skip


def test_every_key_reaches_the_model():
    outcomes = {
        "kern": answer(type=3, protocol=1, cap_net_raw=False, kern=True)[1].errno,
        "cap_net_raw": answer(type=3, protocol=1, cap_net_raw=False)[1].errno,
        "ping_group_allowed": answer(type=2, protocol=1, ping_group_allowed=True)[1].errno,
        "not allowed": answer(type=2, protocol=1)[1].errno,
        "mptcp_enabled": answer(protocol=262, mptcp_enabled=False)[1].errno,
        "initial_netns": answer(kernel="3.x", initial_netns=False)[1].errno,
        "loaded": answer(loaded=[])[1].errno,
        "loadable": answer(loaded=[], loadable=["sctp"])[1].errno,
        "failures": answer(failures={"alloc": "module"})[1].errno,
    }
    assert outcomes == {
        "kern": None,
        "cap_net_raw": "EPERM",
        "ping_group_allowed": None,
        "not allowed": "EACCES",
        "mptcp_enabled": "ENOPROTOOPT",
        "initial_netns": "EAFNOSUPPORT",
        "loaded": "EPROTONOSUPPORT",
        "loadable": None,
        "failures": "ENOMEM",
    }


def test_what_is_left_out_is_the_profile_s():
    short = request.parse_line('{"family": 2, "type": 1, "protocol": 132}', BUILT_IN_PROFILES["6.1"])
    assert [call.module for call in short.answer().calls if call.module] == [
        "net-pf-2-proto-132-type-1",
        "net-pf-2-proto-132",
    ]
    raw = request.parse_line('{"family": 2, "type": 3, "protocol": 1}', BUILT_IN_PROFILES["6.1"])
    assert raw.answer().errno is None
    assert not raw.kern
    assert raw.initial_netns
    assert raw.mptcp_enabled
    assert not raw.ping_group_allowed


def test_a_module_said_to_be_loadable_is_found_even_where_debian_left_its_alias_out():
    found = answer(kernel="5.10", type=6, protocol=33, loadable=["dccp_ipv4"])[1]
    assert found.errno is None
    assert found.calls[1].module == "net-pf-2-proto-33-type-6"
    # But none that this kernel does not have.
    assert answer(kernel="7.2", type=6, protocol=33, loadable=["dccp_ipv4"])[1].errno == "ESOCKTNOSUPPORT"
    assert answer(kernel="6.1", protocol=256, loaded=["smc"])[1].errno == "EPROTONOSUPPORT"
    assert answer(kernel="6.12", protocol=256, loaded=["smc"])[1].errno is None


def test_an_allocation_failure():
    assert answer(kernel="5.10", failures={"alloc": "memory"})[1].errno == "ENOBUFS"
    assert answer(kernel="6.1", failures={"alloc": "memory"})[1].errno == "ENOMEM"


def test_the_reason_speaks_of_the_type_without_its_flags():
    question, outcome = answer(type="SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC", protocol=200)
    assert "not registered for SOCK_STREAM;" in question.reason(outcome)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "a request is an object"),
        ("[" * 100_000, "not JSON"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"kernel": "2.4"}, "unknown kernel '2.4'"),
        ({"kernel": None}, "no name of a kernel"),
        ({"family": "martian"}, "unknown family"),
        ({"type": True}, "type True"),
        ({"protocol": 1 << 31}, "C int"),
        ({"protocol": -(1 << 31) - 1}, "C int"),
        ({"protocol": 1.5}, "C int"),
        ({"loaded": "sctp"}, "no list"),
        ({"loaded": [1]}, "no list"),
        ({"cap_net_raw": 1}, "neither true nor false"),
        ({"failures": ["alloc"]}, "no object"),
        ({"failures": {"alloc": 1}}, "no object"),
        ({"failures": {"alloc": "spite"}}, "alloc fails for want of"),
        ({"failures": {"fate": "EPERM"}}, "unknown failure 'fate'"),
        ({"failures": {"hash": "ENOSUCH"}}, "unknown errno"),
    ],
)
def test_a_bad_request_is_one_sentence(line, says):
    text = line if isinstance(line, str) else json.dumps({**EXAMPLE, **line})
    with pytest.raises(UsageError, match=says) as raised:
        request.parse_line(text, None)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["family", "type", "protocol", "kernel"])
def test_what_a_request_must_have(key):
    text = json.dumps({name: value for name, value in EXAMPLE.items() if name != key})
    with pytest.raises(UsageError, match=f"has no {key}"):
        request.parse_line(text, None)


@pytest.mark.parametrize("protocol", [-(1 << 31), (1 << 31) - 1])
def test_a_protocol_is_any_c_int(protocol):
    assert answer(protocol=protocol)[1].errno == "EINVAL"


def test_another_family_is_an_error():
    with pytest.raises(UsageError, match="neither AF_INET"):
        answer(family=1)


@given(st.text() | st.binary())
def test_any_line_is_answered_or_refused(line):
    try:
        request.parse_line(line, None)
    except UsageError as error:
        assert "\n" not in str(error)
