"""One run of a known workload by both mechanisms, with strace as an independent witness."""

import re
import sys
from pathlib import Path

import pytest

from inetprobe.base.uapi import FAMILIES, PROTOCOLS, TYPES
from tests.live.conftest import HERE, accounted, in_socket, inetprobe
from tests.live.known import REQUESTS, UDPLITE

SOCKET = re.compile(r"^(\d+) +socket\((\w+), (\w+)(?:\|\w+)*, ([^)]+)\) = (-?\d+)(?: (E\w+))?")


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    recording, log = folder / "known.arrows", folder / "strace.txt"
    result = inetprobe(
        "trace", "--format", "json", "--mechanism", request.param, "-o", recording, "--",
        "strace", "-f", "-e", "trace=socket", "-o", log, sys.executable, HERE / "known.py",
    )  # fmt: skip
    assert result.status == 0, result.err
    return result, recording, log


def inet_traces(run):
    return [trace for trace in run[0].traces if trace["family"] in (2, 10)]


def test_the_23_sockets_are_traced_in_order_with_their_errnos(run):
    traced = [(t["family"], t["type"], t["protocol"], t["errno"]) for t in inet_traces(run)]
    # 7.2 no longer has UDP-Lite: /proc/net/protocols lists the protocols of this kernel.
    has_udplite = "UDP-Lite" in Path("/proc/net/protocols").read_text()
    absent = () if has_udplite else (UDPLITE,)
    assert traced == [(f, t, p, "EPROTONOSUPPORT" if p in absent else errno) for f, t, p, errno in REQUESTS]


def test_every_trace_is_complete_and_accounted_for(run):
    assert all(trace["complete"] for trace in inet_traces(run))
    assert run[0].summary["complete"] == 23
    assert len({trace["id"] for trace in run[0].traces}) == len(run[0].traces)
    assert not run[0].summary["lost"]
    assert accounted(run[0].summary)


def test_the_calls_match_the_outcome(run):
    for trace in inet_traces(run):
        calls = [(call["depth"], call["function"]) for call in trace["calls"]]
        create = "inet_create" if trace["family"] == 2 else "inet6_create"
        modules = [(1, "__request_module")] * sum(name == "__request_module" for _, name in calls)
        allocated = [(1, "sk_alloc"), (2, "sk_prot_alloc")] if trace["errno"] is None else []
        assert calls == in_socket((0, create), *modules, *allocated)
        requested = trace["errno"] in ("EPROTONOSUPPORT", "ESOCKTNOSUPPORT")
        family, type_, protocol = trace["family"], trace["type"], trace["protocol"]
        names = [f"net-pf-{family}-proto-{protocol}-type-{type_}", f"net-pf-{family}-proto-{protocol}"]
        assert [c["module"] for c in trace["calls"] if "module" in c] == (names if requested else [])


def test_strace_shows_the_same_requests_and_errnos(run):
    witnessed = []
    for line in run[2].read_text().splitlines():
        match = SOCKET.match(line)
        if match and match[2] in ("AF_INET", "AF_INET6"):
            witnessed.append((match[2], match[3], match[4], match[6]))
    traced = []
    for t in inet_traces(run):
        type_name = TYPES.get(t["type"], str(t["type"]))
        traced.append((FAMILIES[t["family"]], type_name, t["protocol"], t["errno"]))
    numbers = {name: number for number, name in PROTOCOLS.items()}

    def number(words):
        word = words.split()[0]  # strace shows a protocol that it has no name for as 0xc8 /* IPPROTO_??? */
        return numbers[word] if word in numbers else int(word, 0)

    as_numbers = [(family, type_, number(protocol), error) for family, type_, protocol, error in witnessed]
    assert as_numbers == traced


def test_a_replay_prints_the_same_bytes(run):
    replayed = inetprobe("replay", run[1], "--format", "json")
    assert replayed.status == 0, replayed.err
    assert replayed.out == run[0].out


def test_prot_is_the_name_of_the_struct_proto(run):
    names = {(2, 1): "TCP", (2, 2): "UDP", (2, 3): "RAW", (10, 1): "TCPv6", (10, 2): "UDPv6", (10, 3): "RAWv6"}
    for trace in inet_traces(run):
        name = "UDP-Lite" if trace["protocol"] == UDPLITE else names.get((trace["family"], trace["type"]))
        assert trace["prot"] == (None if trace["errno"] else name)


def test_the_trace_names_the_caller(run):
    for trace in inet_traces(run):
        assert trace["comm"].startswith("python")
        assert trace["pid"] == trace["tid"]
        assert trace["uid"] in (0, 65534)
        assert trace["netns"] > 0
