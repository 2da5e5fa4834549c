import json
import os
import subprocess
import sys

import pytest

from inetprobe.errors import UsageError
from inetprobe.model import request
from inetprobe.model.profile import BUILT_IN_PROFILES

EXAMPLE = {
    "kernel": "6.1", "family": 2, "type": 1, "protocol": 132, "cap_net_raw": True, "loaded": ["sctp"], "loadable": [],
    "ping_group_allowed": False, "mptcp_enabled": True,
}  # fmt: skip


def explain(*argv, stdin=None, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "inetprobe", "explain", *argv], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def batch(*requests, status=0):
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
    return [json.loads(line) for line in explain("--batch", stdin=lines, status=status).stdout.splitlines()]


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


def test_the_contract_s_example():
    (answer,) = batch(EXAMPLE)
    assert answer["errno"] is None
    assert answer["calls"] == [
        {"function": "inet_create", "depth": 0}, {"function": "sk_alloc", "depth": 1},
        {"function": "sk_prot_alloc", "depth": 2},
    ]  # fmt: skip
    (answer,) = batch({**EXAMPLE, "loaded": [], "loadable": ["sctp"]})
    assert [call.get("module") for call in answer["calls"]][:3] == [
        None, "net-pf-2-proto-132-type-1", "net-pf-2-proto-132",
    ]  # fmt: skip
    (answer,) = batch({**EXAMPLE, "loaded": [], "loadable": []})
    assert answer["errno"] == "EPROTONOSUPPORT"
    assert "install or unblacklist sctp" in answer["reason"]


def test_names_do_as_well_as_numbers():
    named = {**EXAMPLE, "family": "AF_INET", "type": "SOCK_STREAM|SOCK_CLOEXEC", "protocol": "sctp"}
    assert batch(named) == batch(EXAMPLE)


def test_what_never_reaches_inet_create():
    answers = batch(
        {**EXAMPLE, "type": 10}, {**EXAMPLE, "type": 10, "cap_net_raw": False}, {**EXAMPLE, "type": 12},
        {**EXAMPLE, "family": 99},
    )  # fmt: skip
    assert [(a["errno"], [c["function"] for c in a["calls"]]) for a in answers] == [
        (None, ["sk_alloc", "sk_prot_alloc"]), ("EPERM", []), ("EINVAL", []), ("EAFNOSUPPORT", []),
    ]  # fmt: skip


def test_a_module_said_to_be_loadable_is_found_even_where_debian_left_its_alias_out():
    (answer,) = batch({**EXAMPLE, "kernel": "5.10", "type": 6, "protocol": 33, "loadable": ["dccp_ipv4"]})
    assert answer["errno"] is None
    assert [call.get("module") for call in answer["calls"]][1] == "net-pf-2-proto-33-type-6"
    (answer,) = batch({**EXAMPLE, "kernel": "7.2", "type": 6, "protocol": 33, "loadable": ["dccp_ipv4"]})
    assert answer["errno"] == "ESOCKTNOSUPPORT"
    (answer,) = batch({**EXAMPLE, "kernel": "6.1", "protocol": 256, "loaded": ["smc"]})
    assert answer["errno"] == "EPROTONOSUPPORT"


def test_an_allocation_failure():
    answers = batch(
        *({**EXAMPLE, "kernel": k, "protocol": 0, "failures": {"alloc": "memory"}} for k in ("5.10", "6.1"))
    )
    assert [answer["errno"] for answer in answers] == ["ENOBUFS", "ENOMEM"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "a request is an object"),
        ("[" * 100_000, "not JSON"),
        ({**EXAMPLE, "colour": 1}, "unknown key 'colour'"),
        ({**EXAMPLE, "kernel": "2.4"}, "unknown kernel '2.4'"),
        ({**EXAMPLE, "kernel": None}, "no name of a kernel"),
        ({**EXAMPLE, "family": "martian"}, "unknown family"),
        ({**EXAMPLE, "family": 1}, "neither AF_INET"),
        ({**EXAMPLE, "type": True}, "type True"),
        ({**EXAMPLE, "protocol": 1 << 31}, "C int"),
        ({**EXAMPLE, "protocol": 1.5}, "C int"),
        ({**EXAMPLE, "loaded": "sctp"}, "no list"),
        ({**EXAMPLE, "loaded": [1]}, "no list"),
        ({**EXAMPLE, "cap_net_raw": 1}, "neither true nor false"),
        ({**EXAMPLE, "failures": ["alloc"]}, "no object"),
        ({**EXAMPLE, "failures": {"alloc": "spite"}}, "alloc fails for want of"),
        ({**EXAMPLE, "failures": {"fate": "EPERM"}}, "unknown failure 'fate'"),
        ({key: value for key, value in EXAMPLE.items() if key != "family"}, "has no family"),
    ],
)  # fmt: skip
def test_a_bad_request_is_one_sentence_and_the_others_are_answered(line, says):
    bad, good = batch(line, EXAMPLE, status=2)
    assert says in bad["error"]
    assert len(bad["error"]) < 400
    assert good["errno"] is None


def test_answers_come_before_the_input_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", "inetprobe", "explain", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for _ in range(2):
        process.stdin.write(json.dumps(EXAMPLE).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["errno"] is None
    process.stdin.write(json.dumps(EXAMPLE).encode())
    process.stdin.close()
    assert json.loads(process.stdout.readline())["errno"] is None
    assert process.wait(10) == 0


def test_the_tree():
    said = explain("--type", "stream", "--protocol", "sctp", "--profile", "6.1", "--loadable", "").stdout
    assert said.splitlines() == [
        "socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP) = -1 EPROTONOSUPPORT  (6.1)",
        "inet_create()                                                 -EPROTONOSUPPORT",
        "├─ __request_module(net-pf-2-proto-132-type-1)                256",
        "└─ __request_module(net-pf-2-proto-132)                       256",
        "why: IPPROTO_SCTP (132) is not registered for SOCK_STREAM; the kernel asked for net-pf-2-proto-132-type-1 and "
        "net-pf-2-proto-132, modprobe found neither: install or unblacklist sctp",
        "with sctp loaded: ok",
    ]


def test_what_would_change_it():
    call = "socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) = 3"
    said = explain(call, "--profile", "6.1").stdout
    assert "with a group in ping_group_range: ok" in said
    assert "ended with ok: not what this machine would do" in said
    raw = json.loads(explain("socket(AF_INET, SOCK_RAW, 1)", "--profile", "6.1", "--format", "json").stdout)
    assert raw["would_change"] == {"without CAP_NET_RAW": "EPERM"}


def test_every_input_is_an_option():
    def errno(*options):
        return json.loads(explain("--profile", "6.1", "--format", "json", "--type", *options).stdout)["errno"]

    assert errno("raw", "--protocol", "icmp", "--no-cap-net-raw") == "EPERM"
    assert errno("raw", "--protocol", "icmp", "--no-cap-net-raw", "--kern") is None
    assert errno("dgram", "--protocol", "icmp", "--ping-group-allowed") is None
    assert errno("stream", "--protocol", "262", "--no-mptcp-enabled") == "ENOPROTOOPT"
    assert errno("seqpacket", "--loaded", "sctp") is None
    assert errno("stream", "--fail", "cgroup=EACCES") == "EACCES"
    assert errno("stream", "--fail", "alloc=module") == "ENOMEM"
    assert errno("stream", "--family", "inet6", "--fail", "alloc=memory") == "ENOBUFS"


def test_without_a_profile_it_is_the_running_kernel_s_or_says_whose():
    done = explain("--type", "stream")
    assert done.stdout.startswith("socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = ok")
    assert os.uname().release in done.stdout or "this is Debian's" in done.stderr


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "give a call"),
        (("socket(AF_INET, SOCK_STREAM, 0)", "--type", "raw"), "not both"),
        (("--type", "stream", "--profile", "nowhere"), "neither a recording nor one of"),
        (("--type", "stream", "--fail", "alloc"), "alloc fails for want of"),
        (("--batch", "socket(AF_INET, SOCK_STREAM, 0)"), "--batch takes its requests from stdin"),
        (("socket(AF_UNIX, SOCK_STREAM, 0)", "--profile", "6.1"), "neither AF_INET"),
    ],
)
def test_bad_usage_is_one_sentence(argv, says):
    done = explain(*argv, status=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_kernels_are_those_of_the_contract():
    assert list(BUILT_IN_PROFILES) == ["3.x", "5.10", "6.1", "6.12", "7.2"]
