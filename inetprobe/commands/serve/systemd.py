"""Notifies systemd over $NOTIFY_SOCKET (sd_notify(3), ``Type=notify`` and ``notify-reload``)."""

from __future__ import annotations

import os
import socket
import time

from inetprobe.base.errors import InetprobeError

READY, STOPPING = "READY=1", "STOPPING=1"


def reloading() -> str:
    """The state at the start of a reload, which READY ends. With the time systemd ignores an older READY."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(*states: str) -> bool:
    """Sends ``states``, lines such as READY or ``STATUS=…``. False if $NOTIFY_SOCKET is not set.

    Raises InetprobeError if $NOTIFY_SOCKET cannot be reached: systemd would time out and end the service.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address[0] not in "/@":
        raise InetprobeError(f"NOTIFY_SOCKET is {address[:60]!r}, which is not a UNIX socket: unset it")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
            systemd.settimeout(2.0)
            # An abstract socket's name begins with a NUL byte.
            systemd.sendto("\n".join(states).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError as error:
        raise InetprobeError(
            f"systemd cannot be notified through {address[:60]!r}: {error.strerror or error}"
        ) from None
    return True
