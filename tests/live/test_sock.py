"""--sock by both mechanisms, compared with the model's prediction and with the workload's own getsockopt()."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inetprobe.model.inet_sock import Sock, differences, entry_of, expected
from inetprobe.record.arrow.reader import RecordingReader
from tests.live.conftest import HERE, accounted, inetprobe
from tests.live.known import AS_ROOT, DGRAM, INET, INET6, SCTP, SEQPACKET, STREAM

L2TP, MPTCP, SMC = 115, 262, 256
MORE = [(INET, STREAM, SCTP), (INET6, SEQPACKET, SCTP), (INET, DGRAM, L2TP), (INET6, DGRAM, L2TP),
        (INET, STREAM, MPTCP), (INET6, STREAM, MPTCP), (INET, STREAM, SMC), (INET, DGRAM, 1)]  # fmt: skip
REQUESTS = [request[:3] for request in AS_ROOT] + MORE
PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
# getsockopt() options and the fields that they return. Stream sockets have multicast's TTL and loop as well.
WITNESSED = {
    "SO_TYPE": "sk_type",
    "SO_PROTOCOL": "sk_protocol",
    "SO_REUSEADDR": "sk_reuse",
    "IP_HDRINCL": "hdrincl",
    "IP_MTU_DISCOVER": "pmtudisc",
    "IP_MULTICAST_TTL": "mc_ttl",
    "IP_MULTICAST_LOOP": "mc_loop",
    "IP_MULTICAST_ALL": "mc_all",
}


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def run(request, tmp_path_factory):
    recording = tmp_path_factory.mktemp(request.param) / "sock.arrows"
    for module in ("l2tp_ip", "l2tp_ip6"):  # some kernels have no alias for it
        subprocess.run(["modprobe", module], check=False, capture_output=True)
    before = PING_GROUPS.read_text()
    PING_GROUPS.write_text("0 0")
    words = [",".join(map(str, request)) for request in REQUESTS]
    result = inetprobe(
        "trace", "--sock", "--format", "json", "--mechanism", request.param, "-o", recording, "--",
        sys.executable, HERE / "sock_maker.py", *words,
    )  # fmt: skip
    assert result.status == 0, result.err
    witnesses = [json.loads(line.split(" ", 1)[1]) for line in result.out.splitlines() if line.startswith("witness")]
    yield result, witnesses, recording
    PING_GROUPS.write_text(before)
    subprocess.run(["modprobe", "-r", "l2tp_ip6", "l2tp_ip"], check=False, capture_output=True)


def made(run):
    """(trace, its sock) of each socket that was made."""
    return [(trace, Sock(**trace["sock"])) for trace in run[0].traces if trace["errno"] is None]


def test_created_sockets_have_a_sock_and_failed_ones_have_none(run):
    assert [(t["family"], t["type"], t["protocol"]) for t in run[0].traces] == REQUESTS
    assert accounted(run[0].summary)
    for trace, witness in zip(run[0].traces, run[1], strict=True):
        print(trace["prot"], trace["type"], trace["protocol"], trace["errno"], trace["sock"])
        assert (trace["sock"] is None) == (trace["errno"] is not None) == (witness is None)
        assert list(trace)[-1] == "sock"
        assert trace["sock"] is None or list(trace["sock"]) == list(Sock._fields)
    assert len(made(run)) > 10


def test_every_sock_is_as_the_model_predicts(run):
    profile = RecordingReader(run[2]).run.profile
    for trace, sock in made(run):
        entry = entry_of(trace["prot"], trace["type"])
        predicted = expected(entry, trace["protocol"] or entry.protocol, profile)
        assert not differences(sock, predicted), trace["prot"]
        assert sock.pmtudisc == predicted.pmtudisc
    assert [trace["reason"] for trace in run[0].traces if trace["verdict"] != "as_predicted"] == []


def test_getsockopt_returns_the_same_values(run):
    compared = 0
    for trace, witness in zip(run[0].traces, run[1], strict=True):
        if witness is None:
            continue
        for option, field in WITNESSED.items():
            if witness[option] is not None:
                compared += 1
                assert trace["sock"][field] == witness[option], (trace["prot"], option)
        if witness["IP_TTL"] is not None:  # -1 is the net namespace's default
            assert (trace["sock"]["uc_ttl"], witness["IP_TTL"]) == (-1, 64)
        if trace["prot"] in ("TCP", "UDP", "RAW"):
            assert None not in witness.values(), trace["prot"]
    assert compared > 60


def test_a_replay_prints_the_same_bytes(run):
    replayed = inetprobe("replay", run[2], "--format", "json")
    assert replayed.status == 0, replayed.err
    assert replayed.lines == run[0].lines
    assert replayed.out == "".join(line for line in run[0].out.splitlines(True) if line.startswith("{"))


def test_the_key_sock_is_absent_without_the_option_and_null_for_other_families():
    program = "import socket; socket.socket(1, 1, 0); socket.socket(2, 1, 0)"
    plain = inetprobe("trace", "--format", "json", "--", sys.executable, "-c", program)
    assert ["sock" in trace for trace in plain.traces] == [False]
    all_families = inetprobe("trace", "--sock", "--also", "sock_init_data", "--family", "all", "--format", "json", "--",
                      sys.executable, "-c", program)  # fmt: skip
    assert all_families.status == 0, all_families.err
    (unix,) = [trace for trace in all_families.traces if trace["family"] == 1]
    (inet,) = [trace for trace in all_families.traces if trace["family"] == 2]
    assert unix["sock"] is None
    assert inet["sock"]["sk_protocol"] == 6
