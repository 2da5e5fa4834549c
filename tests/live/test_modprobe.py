"""What ``explain`` foretells of modprobe under its configuration, beside what the kernel gets from it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import inetprobe, tracing

HARDENING = Path("/etc/modprobe.d/hardening.conf")
# A module that can be taken out again, as SCTP cannot.
L2TP = "socket(AF_INET, SOCK_DGRAM, 115)"
MAKE = "import socket\ntry: socket.socket(2, 2, 115)\nexcept OSError: pass"
# The results of the request by type and of the one without; it answers to both.
CONFIGURATIONS = {
    "install l2tp_ip /bin/false": (256, 256),
    "install l2tp_ip /bin/true": (0, 0),
    "blacklist l2tp_ip": (0, 0),
    "blacklist l2tp_ip\ninstall l2tp_ip /bin/false": (0, 0),
}


@pytest.fixture(name="hardening")
def _hardening():
    subprocess.run(["modprobe", "-r", "l2tp_ip6", "l2tp_ip"], check=True)  # the one needs the other
    yield HARDENING
    HARDENING.unlink(missing_ok=True)


def test_explain_foretells_what_modprobe_answers(hardening):
    foretold = []
    with tracing() as tracer:
        for text in CONFIGURATIONS:
            hardening.write_text(text + "\n")
            explained = inetprobe("explain", L2TP).out
            foretold.append(tuple(int(result) for result in re.findall(r"__request_module\(\S+\) +(\d+)", explained)))
            subprocess.run([sys.executable, "-c", MAKE], check=True)
    traced = [
        tuple(call["result"] for call in trace["calls"] if call["function"] == "__request_module")
        for trace in tracer.traces
        if trace["protocol"] == 115
    ]
    assert foretold == traced == list(CONFIGURATIONS.values())
