"""The sockets that `make trace` shows: each kind of outcome once, in a fixed order.

Run it under `inetprobe trace -- …` as root: it creates one socket as nobody, to show a missing capability.
"""

from __future__ import annotations

import os
import socket

IPPROTO_SCTP, UNKNOWN_PROTOCOL = 132, 200

AS_ROOT = [
    (socket.AF_INET, socket.SOCK_STREAM, 0),
    (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP),
    (socket.AF_INET, socket.SOCK_STREAM, UNKNOWN_PROTOCOL),
    (socket.AF_INET6, socket.SOCK_STREAM, 0),
]
AS_NOBODY = [(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)]
NOBODY = 65534


def create(requests: list[tuple[int, int, int]]) -> None:
    """Creates and closes one socket per request; refusals are expected."""
    for family, type_, protocol in requests:
        try:
            socket.socket(family, type_, protocol).close()
        except OSError as error:
            print(f"socket({family}, {type_}, {protocol}): {error.strerror}")


def main() -> None:
    """All sockets as root, then one raw socket without CAP_NET_RAW."""
    create(AS_ROOT)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    create(AS_NOBODY)


if __name__ == "__main__":
    main()
