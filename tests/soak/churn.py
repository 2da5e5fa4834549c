"""``python -m tests.soak.churn NAME SECONDS [ARGUMENT…]``: one kind of trouble, again and again for so long.

Prints at its end how often it was made.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CPU = Path("/sys/devices/system/cpu/cpu1/online")
L2TP = 115
END = b"Host: localhost\r\n\r\n"
REQUESTS = [
    b"GET /metrics HTTP/1.1\r\nConnection: close\r\n" + END, b"GET /metrics HTTP/1.1\r\nHo", b"", os.urandom(2000),
    (b"GET /%00 HTTP/1.1\r\n" + END) * 50, b"GET / HTTP/1.1\r\n" + b"x" * 90000,
]  # fmt: skip


def sockets():
    """Some that succeed, some that fail, in a process that ends."""
    if not (pid := os.fork()):
        for family in (2, 10, 1, 16):
            for type_, protocol in ((1, 0), (2, 0), (1, 200), (2, L2TP), (3, 1)):
                with contextlib.suppress(OSError):
                    socket.socket(family, type_, protocol).close()
        os._exit(0)
    os.waitpid(pid, 0)


def cgroups():
    """A cgroup with a long name, in which a socket fails."""
    folder = CGROUPS / f"soak-{random.randrange(1 << 60):x}-{'x' * 150}"
    folder.mkdir()
    if not (pid := os.fork()):
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):
            socket.socket(2, 1, 200)
        os._exit(0)
    os.waitpid(pid, 0)
    folder.rmdir()


def modules():
    """A protocol's module, loaded by a socket and taken away again."""
    with contextlib.suppress(OSError):
        socket.socket(2, 2, L2TP).close()
    subprocess.run(["modprobe", "-r", "l2tp_ip"], stderr=subprocess.DEVNULL, check=False)  # in use at times
    time.sleep(0.5)


def clock():
    """The wall clock, an hour ahead and back."""
    now = time.time()
    time.clock_settime(time.CLOCK_REALTIME, now + 3600)
    time.sleep(3)
    time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)
    time.sleep(7)


def cpus():
    """The second CPU, taken away and given back."""
    CPU.write_text("0")
    time.sleep(3)
    CPU.write_text("1")
    time.sleep(7)


def clients(port):
    """A client of the page that scrapes, asks for nonsense, says half a request, or nothing."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 5) as client:
        client.sendall(random.choice(REQUESTS))
        if random.random() < 0.5:
            while client.recv(1 << 16):
                pass


def bursts():
    """More sockets a second than --max-rate allows, then none."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        socket.socket(2, 2, 0).close()
    time.sleep(25)


if __name__ == "__main__":
    name, seconds, *rest = sys.argv[1:]
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        globals()[name](*rest)
        count += 1
        time.sleep(0.02)
    print(count)
