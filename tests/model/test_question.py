import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.base.uapi import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_MPTCP,
    IPPROTO_SMC,
    SOCK_CLOEXEC,
    SOCK_DCCP,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_PACKET,
    SOCK_RAW,
    SOCK_STREAM,
)
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.model.question import parse_call, parse_line
from inetprobe.model.rules import Rule

EXAMPLE = {
    "kernel": "6.1", "family": 2, "type": 1, "protocol": 132, "cap_net_raw": True, "loaded": ["sctp"], "loadable": [],
    "ping_group_allowed": False, "mptcp_enabled": True,
}  # fmt: skip


def answer(**changes):
    question = parse_line(json.dumps({**EXAMPLE, **changes}), None)
    return question, question.answer()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP)", (AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1, None)),
        ("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3", (AF_INET, SOCK_STREAM, 0, "ok")),
        ("12:00:01 [pid 17] socket(AF_INET6, SOCK_DGRAM|SOCK_NONBLOCK, 58) = -1 EACCES (Permission denied)",
         (AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 58, "EACCES")),
        ("socket(AF_INET, SOCK_STREAM, 0xc8 /* IPPROTO_??? */) = -1 EPROTONOSUPPORT",
         (AF_INET, SOCK_STREAM, 200, "EPROTONOSUPPORT")),
        ("socket.socket(AF_INET,SOCK_DGRAM,0)", (AF_INET, SOCK_DGRAM, 0, None)),
        ("socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3", (16, SOCK_RAW | SOCK_CLOEXEC, 0, "ok")),
        ("socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)", (16, SOCK_DGRAM, 15, None)),
        ("socket(AF_NETLINK, SOCK_DGRAM, netlink_smc)", (16, SOCK_DGRAM, 22, None)),
        ("socket(PF_INET, 0x80001, -1)", (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, -1, None)),
    ],
)  # fmt: skip
def test_call_pasted_from_strace(text, parsed):
    *request, result = parsed
    assert parse_call(text) == ("socket", tuple(request), result)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "socket(",
        "socket(AF_INET, SOCK_STREAM)",
        "connect(3, 0, 0)",
        "socket(A, B, C)",
        "socket(AF_INET, SOCK_STREAM, 0, [3, 4])",
        "socketpair(AF_UNIX, SOCK_STREAM)",
    ],
)
def test_other_text_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse_call(text)


def test_names_are_equal_to_numbers():
    named = answer(family="AF_INET", type="SOCK_STREAM|SOCK_CLOEXEC", protocol="sctp")[1]
    assert named == answer()[1]


@pytest.mark.parametrize(
    ("changes", "errno", "functions"),
    [
        ({"type": SOCK_PACKET}, None, ["sk_alloc", "sk_prot_alloc"]),
        ({"type": SOCK_PACKET, "cap_net_raw": False}, "EPERM", []),
        ({"type": 12}, "EINVAL", []),
        ({"family": 99}, "EAFNOSUPPORT", []),
    ],
)
def test_request_that_does_not_reach_inet_create(changes, errno, functions):
    outcome = answer(**changes)[1]
    assert (outcome.errno, [call.function for call in outcome.calls]) == (errno, functions)


RAW_ICMP = {"type": SOCK_RAW, "protocol": IPPROTO_ICMP}
PING = {"type": SOCK_DGRAM, "protocol": IPPROTO_ICMP}


@pytest.mark.parametrize(
    ("changes", "errno"),
    [
        pytest.param({**RAW_ICMP, "cap_net_raw": False}, "EPERM", id="cap_net_raw"),
        pytest.param({**RAW_ICMP, "cap_net_raw": False, "kern": True}, None, id="kern"),
        pytest.param(PING, "EACCES", id="ping_group_allowed false"),
        pytest.param({**PING, "ping_group_allowed": True}, None, id="ping_group_allowed"),
        pytest.param({"protocol": IPPROTO_MPTCP, "mptcp_enabled": False}, "ENOPROTOOPT", id="mptcp_enabled"),
        pytest.param({"kernel": "3.x", "initial_netns": False}, "EAFNOSUPPORT", id="initial_netns"),
        pytest.param({"loaded": []}, "EPROTONOSUPPORT", id="loaded"),
        pytest.param({"loaded": [], "loadable": ["sctp"]}, None, id="loadable"),
        pytest.param({"failures": {"alloc": "module"}}, "ENOMEM", id="failures"),
    ],
)
def test_every_key_reaches_the_model(changes, errno):
    assert answer(**changes)[1].errno == errno


def test_defaults_are_those_of_the_profile():
    short = parse_line('{"family": 2, "type": 1, "protocol": 132}', BUILT_IN_PROFILES["6.1"])
    assert [call.module for call in short.answer().calls if call.module] == [
        "net-pf-2-proto-132-type-1",
        "net-pf-2-proto-132",
    ]
    raw = parse_line('{"family": 2, "type": 3, "protocol": 1}', BUILT_IN_PROFILES["6.1"])
    assert raw.answer().errno is None
    assert not raw.kern
    assert raw.initial_netns
    assert raw.mptcp_enabled
    assert not raw.ping_group_allowed


def test_loadable_module_without_an_alias_has_upstream_s():
    outcome = answer(kernel="5.10", type=SOCK_DCCP, protocol=IPPROTO_DCCP, loadable=["dccp_ipv4"])[1]
    assert outcome.errno is None
    assert outcome.calls[1].module == "net-pf-2-proto-33-type-6"


@pytest.mark.parametrize(
    ("kernel", "changes", "errno"),
    [
        ("7.2", {"type": SOCK_DCCP, "protocol": IPPROTO_DCCP, "loadable": ["dccp_ipv4"]}, "ESOCKTNOSUPPORT"),
        ("6.1", {"protocol": IPPROTO_SMC, "loaded": ["smc"]}, "EPROTONOSUPPORT"),
        ("6.12", {"protocol": IPPROTO_SMC, "loaded": ["smc"]}, None),
    ],
)
def test_module_that_the_kernel_does_not_have_is_ignored(kernel, changes, errno):
    assert answer(kernel=kernel, **changes)[1].errno == errno


@pytest.mark.parametrize(("kernel", "errno"), [("5.10", "ENOBUFS"), ("6.1", "ENOMEM")])
def test_errno_of_an_allocation_failure_is_that_of_the_kernel(kernel, errno):
    assert answer(kernel=kernel, failures={"alloc": "memory"})[1].errno == errno


def test_reason_has_the_type_without_its_flags():
    question, outcome = answer(type="SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC", protocol=200)
    assert question.explain(outcome).reason.endswith(" is not registered for SOCK_STREAM")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "a request is an object"),
        ("[" * 100_000, "not JSON"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"kernel": "2.4"}, "unknown kernel '2.4'"),
        ({"kernel": None}, "not a kernel's name"),
        ({"family": "martian"}, "unknown family"),
        ({"type": True}, "type True"),
        ({"protocol": 1 << 31}, "C int"),
        ({"protocol": -(1 << 31) - 1}, "C int"),
        ({"protocol": 1.5}, "C int"),
        ({"syscall": "accept"}, "syscall 'accept' is none of socket, socketpair"),
        ({"syscall": ["socket"]}, "is none of socket, socketpair"),
        ({"failures": {"inode": "EPERM"}}, "unknown cause 'EPERM' of inode: one of ENFILE"),
        ({"failures": {"descriptor": "EPERM"}}, "unknown cause 'EPERM' of descriptor: one of EMFILE, ENFILE, ENOMEM"),
        ({"failures": {"teleport": "EPERM"}}, "unknown failure 'teleport': one of security, inode, alloc, hash"),
        ({"loaded": "sctp"}, "not a list"),
        ({"loaded": [1]}, "not a list"),
        ({"cap_net_raw": 1}, "neither true nor false"),
        ({"failures": ["alloc"]}, "not an object"),
        ({"failures": {"alloc": 1}}, "not an object"),
        ({"failures": {"alloc": "spite"}}, "unknown cause 'spite' of alloc"),
        ({"failures": {"fate": "EPERM"}}, "unknown failure 'fate'"),
        ({"failures": {"hash": "ENOSUCH"}}, "unknown errno"),
        ({"family": "9" * 5000}, "unknown family"),
        ({"x" * 5000: 1}, "unknown key 'xxx"),
        ({"kern": {"x" * 5000: ["y" * 5000]}}, "neither true nor false"),
        ({"kernel": "6" * 5000}, "unknown kernel '666"),
    ],
)
def test_bad_request_is_one_sentence(line, says):
    text = line if isinstance(line, str) else json.dumps({**EXAMPLE, **line})
    with pytest.raises(UsageError, match=says) as raised:
        parse_line(text, None)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["family", "type", "protocol", "kernel"])
def test_request_must_have(key):
    text = json.dumps({name: value for name, value in EXAMPLE.items() if name != key})
    with pytest.raises(UsageError, match=f"has no {key}"):
        parse_line(text, None)


@pytest.mark.parametrize("protocol", [-(1 << 31), (1 << 31) - 1])
def test_protocol_is_any_c_int(protocol):
    assert answer(protocol=protocol)[1].errno == "EINVAL"


def test_other_families_and_pairs_are_answered():
    unix = {"family": "unix", "protocol": 0}
    assert answer(**unix)[1].word == "ok"
    assert answer(**unix, syscall="socketpair")[1].word == "ok"
    assert answer(syscall="socketpair")[1].errno == "EOPNOTSUPP"
    assert answer(syscall="socket")[1].errno is None
    assert answer(family="vsock")[1].word == "unknown"
    assert answer(**unix, kern=True)[1].word == "ok"


def test_the_kernel_makes_no_pairs():
    with pytest.raises(UsageError, match="the kernel itself makes no pairs of sockets"):
        answer(syscall="socketpair", kern=True)


@pytest.mark.parametrize(
    ("failures", "rule"),
    [
        ({"security": "EACCES"}, Rule.SECURITY),
        ({"inode": "ENFILE"}, Rule.INODE),
        ({"post_create": "eperm"}, Rule.POST_CREATE),
        ({"descriptor": "EMFILE"}, Rule.DESCRIPTOR_LIMIT),
        ({"descriptor": "ENFILE"}, Rule.FILE_LIMIT),
        ({"descriptor": "ENOMEM"}, Rule.FILE_MEMORY),
    ],
)
def test_every_rung_can_be_made_to_fail(failures, rule):
    assert answer(failures=failures)[1].rule is rule


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [3, 4]) = 0",
         (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, "ok")),
        ("[pid 7] socketpair(AF_INET, SOCK_STREAM, 0, 0x7ffd5f2c) = -1 EOPNOTSUPP (Operation not supported)",
         (AF_INET, SOCK_STREAM, 0, "EOPNOTSUPP")),
        ("socketpair(AF_UNIX, SOCK_DGRAM, 0)", (AF_UNIX, SOCK_DGRAM, 0, None)),
        ("socketpair(1, 1, 0, sv)", (AF_UNIX, SOCK_STREAM, 0, None)),
    ],
)  # fmt: skip
def test_pair_pasted_from_strace(text, parsed):
    *request, result = parsed
    assert parse_call(text) == ("socketpair", tuple(request), result)


@given(st.text() | st.binary())
def test_any_line_is_parsed_or_refused(line):
    try:
        parse_line(line, None)
    except UsageError as error:
        assert "\n" not in str(error)
