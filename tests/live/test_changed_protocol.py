"""A BPF program at update_socket_protocol() of net/socket.c (Linux 6.6) makes MPTCP of TCP, as administrators do."""

import sys

import pytest

from inetprobe.kernel.host.kallsyms import Symbols
from tests.live.bpf_programs import MODIFY_RETURN, attached, where
from tests.live.conftest import MECHANISMS, accounted, inetprobe

TCP, MPTCP = 6, 262
PROGRAM = f"""
import socket
for family, protocol in ((2, {TCP}), (10, {TCP}), (2, 0)):
    print(socket.socket(family, 1, protocol).getsockopt(1, 38))  # SO_PROTOCOL
"""


@MECHANISMS
def test_the_trace_has_what_was_asked_for_and_what_was_made(mechanism):
    function = "update_socket_protocol"
    if function not in Symbols.of_kernel():
        pytest.skip("no BPF program can change the protocol before Linux 6.6")
    with attached(MODIFY_RETURN, function, where(2, TCP, MPTCP)):
        result = inetprobe("trace", "--format", "json", "--mechanism", mechanism, "--", sys.executable, "-c", PROGRAM)
    assert [line for line in result.out.splitlines() if line.isdigit()] == [str(MPTCP), str(MPTCP), str(TCP)]
    assert [(trace["family"], trace["protocol"], trace["prot"]) for trace in result.traces] == [
        (2, TCP, "MPTCP"), (10, TCP, "MPTCPv6"), (2, 0, "TCP"),
    ]  # fmt: skip
    assert {trace["verdict"] for trace in result.traces} == {"as_predicted"}, result.traces
    assert accounted(result.summary)
