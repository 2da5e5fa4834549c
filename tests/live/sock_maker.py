"""Makes the socket that each argument names and prints its getsockopt() values as JSON, to compare with --sock.

Arguments: family,type,protocol. A socket that cannot be made, or an option that it does not have, is null.
"""

import contextlib
import json
import socket
import sys

SO_PROTOCOL = 38
# option: (level, number), as in include/uapi/
OPTIONS = {
    "SO_TYPE": (socket.SOL_SOCKET, socket.SO_TYPE),
    "SO_PROTOCOL": (socket.SOL_SOCKET, SO_PROTOCOL),
    "SO_REUSEADDR": (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    "IP_HDRINCL": (socket.SOL_IP, socket.IP_HDRINCL),
    "IP_TTL": (socket.SOL_IP, socket.IP_TTL),
    "IP_MTU_DISCOVER": (socket.SOL_IP, 10),
    "IP_MULTICAST_TTL": (socket.SOL_IP, socket.IP_MULTICAST_TTL),
    "IP_MULTICAST_LOOP": (socket.SOL_IP, socket.IP_MULTICAST_LOOP),
    "IP_MULTICAST_ALL": (socket.SOL_IP, 49),
}


def options_of(family, type_, protocol):
    """Returns the value of each option by its name, or None if the socket cannot be made."""
    try:
        made = socket.socket(family, type_, protocol)
    except OSError:
        return None
    with made:
        values = {}
        for name, (level, option) in OPTIONS.items():
            values[name] = None
            with contextlib.suppress(OSError):
                values[name] = made.getsockopt(level, option)
        return values


if __name__ == "__main__":
    for word in sys.argv[1:]:
        print("witness", json.dumps(options_of(*map(int, word.split(",")))), flush=True)
