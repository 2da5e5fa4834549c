"""Makes exactly 23 sockets whose outcomes are known beforehand: one per line of REQUESTS, in order."""

import json
import os
import socket
import subprocess
import sys

INET, INET6 = 2, 10
STREAM, DGRAM, RAW, RDM, SEQPACKET = 1, 2, 3, 4, 5
TCP, UDP, ICMP, UDPLITE, SCTP, ICMPV6 = 6, 17, 1, 136, 132, 58

# (family, type, protocol, the errno's name or None for success)
AS_ROOT = [
    (INET, STREAM, 0, None),
    (INET, STREAM, TCP, None),
    (INET, DGRAM, 0, None),
    (INET, DGRAM, UDP, None),
    (INET, DGRAM, UDPLITE, None),
    (INET, RAW, ICMP, None),
    (INET, RAW, 255, None),
    (INET, RAW, 0, "EPROTONOSUPPORT"),
    (INET, STREAM, 200, "EPROTONOSUPPORT"),
    (INET, STREAM, UDP, "EPROTONOSUPPORT"),
    (INET, DGRAM, TCP, "EPROTONOSUPPORT"),
    (INET, SEQPACKET, 0, "ESOCKTNOSUPPORT"),
    (INET, RDM, 0, "ESOCKTNOSUPPORT"),
    (INET, STREAM, 263, "EINVAL"),
    (INET, STREAM, 1000, "EINVAL"),
    (INET6, STREAM, 0, None),
    (INET6, DGRAM, UDP, None),
    (INET6, RAW, ICMPV6, None),
    (INET6, DGRAM, 99, "EPROTONOSUPPORT"),
    (INET6, RDM, 0, "ESOCKTNOSUPPORT"),
]
AS_NOBODY = [
    (INET, RAW, ICMP, "EPERM"),
    (INET6, RAW, ICMPV6, "EPERM"),
    (INET, STREAM, 0, None),
]
REQUESTS = AS_ROOT + AS_NOBODY


def create(requests, report):
    """Makes each socket and reports (family, type, protocol, errno) as JSON, the errno as the kernel returned it.

    With SCTP loaded, one more request succeeds than REQUESTS says.
    """
    for family, type_, protocol, _ in requests:
        error = 0
        try:
            socket.socket(family, type_, protocol).close()
        except OSError as refusal:
            error = refusal.errno
        report(json.dumps((family, type_, protocol, error)))


def create_all(report):
    """Makes all of them, first as root, then as nobody."""
    create(AS_ROOT, report)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    create(AS_NOBODY, report)


def make_known(prologue=""):
    """Makes them in another process, whose program begins with ``prologue``.

    Returns (family, type, protocol, errno) of each, errno 0 for success.
    """
    program = f"{prologue}\nimport runpy; runpy.run_path({__file__!r})['create_all'](print)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    assert len(REQUESTS) == 23
    create_all(lambda line: None)
