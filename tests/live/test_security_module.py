"""A security module that refuses sockets is named: a BPF LSM program of four instructions, by both mechanisms."""

import json
import os
import struct
import sys
from pathlib import Path

import pytest

from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.btf import Btf
from tests.live.conftest import MECHANISMS, in_socket, inetprobe, shape

MODULES = Path("/sys/kernel/security/lsm")
SCTP, EACCES = 132, 13
# BPF_PROG_TYPE_LSM and BPF_LSM_MAC of include/uapi/linux/bpf.h
LSM = syscall.ProgramType(29, 27)


def code(argument, number, error):
    """A program that returns -``error`` where this argument of its function is ``number``, else 0."""
    r0, r1, r2 = 0, 1, 2
    instructions = [
        (0x79, r2 | r1 << 4, 8 * argument, 0),  # r2 = the argument
        (0xB7, r0, 0, 0),  # r0 = 0
        (0x56, r2, 1, number),  # if the low half of r2 is another number: go to exit
        (0xB7, r0, 0, -error),  # r0 = -error
        (0x95, 0, 0, 0),  # exit
    ]
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)


@pytest.fixture
def refusing_sctp():
    if not MODULES.exists():
        os.system("mount -t securityfs securityfs /sys/kernel/security")
    if "bpf" not in MODULES.read_text().strip().split(","):
        pytest.skip("this kernel was booted without BPF LSM programs (lsm=…,bpf)")
    function = "bpf_lsm_socket_create"
    prototype = Btf.of_kernel().prototype(function)
    program = syscall.load_program(LSM, function, code(2, SCTP, EACCES), prototype.type_id)
    link = syscall.attach(program)
    yield
    os.close(link)
    os.close(program)


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
