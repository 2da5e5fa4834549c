"""The result of modprobe that ``explain`` predicts from its configuration, and the one that the kernel gets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import inetprobe, tracing

HARDENING = Path("/etc/modprobe.d/hardening.conf")
# Its module can be unloaded, unlike SCTP's.
L2TP = "socket(AF_INET, SOCK_DGRAM, 115)"
MAKE = "import socket\ntry: socket.socket(2, 2, 115)\nexcept OSError: pass"
NOT_FOUND = 256
# modprobe's configuration: the results of the request with the type, where the module has an alias for it, and of that
# without.
CONFIGURATIONS = {
    "install l2tp_ip /bin/false": (256, 256),
    "install l2tp_ip /bin/true": (0, 0),
    "blacklist l2tp_ip": (0, 0),
    "blacklist l2tp_ip\ninstall l2tp_ip /bin/false": (0, 0),
}


@pytest.fixture(name="hardening")
def _hardening():
    subprocess.run(["modprobe", "-r", "l2tp_ip6", "l2tp_ip"], check=True)  # l2tp_ip6 needs l2tp_ip
    yield HARDENING
    HARDENING.unlink(missing_ok=True)


def test_explain_predicts_the_result_of_modprobe(hardening):
    """Linux 5.10 has no alias with the type."""
    aliases = Path("/lib/modules", os.uname().release, "modules.alias").read_text()
    with_type = "alias net-pf-2-proto-115-type-2 l2tp_ip\n" in aliases
    expected = [(first if with_type else NOT_FOUND, second) for first, second in CONFIGURATIONS.values()]
    predicted = []
    with tracing() as tracer:
        for text in CONFIGURATIONS:
            hardening.write_text(text + "\n")
            explained = inetprobe("explain", L2TP).out
            predicted.append(tuple(int(result) for result in re.findall(r"__request_module\(\S+\) +(\d+)", explained)))
            subprocess.run([sys.executable, "-c", MAKE], check=True)
    traced = [
        tuple(call["result"] for call in trace["calls"] if call["function"] == "__request_module")
        for trace in tracer.traces
        if trace["protocol"] == 115
    ]
    assert predicted == traced == expected
