"""Makes each socket that its arguments name, and prints as JSON what getsockopt() says of it: --sock's witness.

Arguments: family,type,protocol. A socket that cannot be made, or an option that it does not have, is null.
"""

import contextlib
import json
import socket
import sys

SO_PROTOCOL = 38
# option: (level, number), as include/uapi/ has them
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


def witness(family, kind, protocol):
    try:
        made = socket.socket(family, kind, protocol)
    except OSError:
        return None
    with made:
        said = {}
        for name, (level, option) in OPTIONS.items():
            said[name] = None
            with contextlib.suppress(OSError):
                said[name] = made.getsockopt(level, option)
        return said


if __name__ == "__main__":
    for word in sys.argv[1:]:
        print("witness", json.dumps(witness(*map(int, word.split(",")))), flush=True)
