"""A security module that refuses sockets is named: a BPF LSM program of five instructions, by both mechanisms."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.live.bpf_programs import LSM, attached, where
from tests.live.conftest import MECHANISMS, in_socket, inetprobe, shape

MODULES = Path("/sys/kernel/security/lsm")
SCTP, EACCES = 132, 13


@pytest.fixture
def refusing_sctp():
    if not MODULES.exists():
        os.system("mount -t securityfs securityfs /sys/kernel/security")
    assert "bpf" in MODULES.read_text().strip().split(",")  # tools/live.py asks for it
    with attached(LSM, "bpf_lsm_socket_create", where(2, SCTP, -EACCES)):
        yield


PROGRAM = f"""
import socket
socket.socket(2, 1, 0).close()
for family in 2, 10, 1:
    try:
        socket.socket(family, 1, {SCTP})
    except OSError as error:
        print(family, error.errno)
"""


def test_why_names_the_module(refusing_sctp):
    result = inetprobe("why", "--format", "json", "--", sys.executable, "-c", PROGRAM)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[:3] == [f"{family} {EACCES}" for family in (2, 10, 1)]
    calls = [json.loads(line) for line in lines[3:]]
    assert sorted((call["family"], call["errno"], call["stage"], call["rule"]) for call in calls) == [
        (family, "EACCES", "security", "security") for family in (1, 2, 10)
    ]
    assert {call["reason"] for call in calls} == {"a BPF LSM program refused the socket"}
    assert all("bpf_lsm_socket_create returned EACCES" in call["evidence"] for call in calls)


def test_the_candidates_are_named_where_no_module_s_function_is_traced(refusing_sctp):
    result = inetprobe("trace", "--failed", "--format", "json", "--", sys.executable, "-c", PROGRAM)
    deciding = [module for module in MODULES.read_text().strip().split(",") if module in ("apparmor", "selinux", "bpf")]
    for trace in result.traces:
        if trace["family"] in (2, 10):
            assert "a BPF LSM program" in trace["reason"]
            assert len(trace["fix"]) == len(deciding)


@MECHANISMS
def test_the_module_s_call_is_in_the_trace_with_its_time(refusing_sctp, mechanism):
    result = inetprobe(
        "trace", "--also", "lsm", "--format", "json", "--mechanism", mechanism, "--", sys.executable, "-c", PROGRAM
    )
    made, *refused = result.traces
    assert made["verdict"] == "as_predicted"
    assert [trace["errno"] for trace in refused] == ["EACCES"] * 3
    assert {trace["verdict"] for trace in refused} == {"as_predicted"}
    for trace in refused:
        (call,) = (call for call in trace["calls"] if call["function"] == "bpf_lsm_socket_create")
        assert (call["depth"], call["result"]) == (1, -EACCES)
        assert 0 < call["duration_ns"] < trace["duration_ns"]
    names = [(depth, name) for depth, name in shape(made) if not name.endswith(("_socket_create", "_post_create"))]
    assert names == in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))
    assert (1, "apparmor_socket_create") in shape(made)
