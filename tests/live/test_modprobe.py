"""What ``explain`` foretells of modprobe under its configuration, beside what the kernel gets from it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import inetprobe, tracing

HARDENING = Path("/etc/modprobe.d/hardening.conf")
SCTP = "socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)"
MAKE = "import socket\ntry: socket.socket(2, 1, 132)\nexcept OSError: pass"
# The result of the request by type, which no module answers to, and of the one without.
CONFIGURATIONS = {
    "install sctp /bin/false": (256, 256),
    "install sctp /bin/true": (256, 0),
    "blacklist sctp": (256, 0),
    "blacklist sctp\ninstall sctp /bin/false": (256, 0),
}


@pytest.fixture(name="hardening")
def _hardening():
    subprocess.run(["modprobe", "-r", "sctp"], check=True)
    yield HARDENING
    HARDENING.unlink(missing_ok=True)


def test_explain_foretells_what_modprobe_answers(hardening):
    foretold = []
    with tracing() as tracer:
        for text in CONFIGURATIONS:
            hardening.write_text(text + "\n")
            explained = inetprobe("explain", SCTP).out
            foretold.append(tuple(int(result) for result in re.findall(r"__request_module\(\S+\) +(\d+)", explained)))
            subprocess.run([sys.executable, "-c", MAKE], check=True)
    traced = [
        tuple(call["result"] for call in trace["calls"] if call["function"] == "__request_module")
        for trace in tracer.traces
        if trace["protocol"] == 132
    ]
    assert foretold == traced == list(CONFIGURATIONS.values())
