"""Errors that a tracer makes unnoticed: missed returns, and calls of interrupts on top of a trace."""

import sys
from pathlib import Path

from tests.live.conftest import TWO_CPUS, accounted, in_socket, inetprobe

# Each thread sleeps in request_module twice, then makes another socket, whose entry reveals the missed returns of the
# first.
SLEEPERS = """
import socket, threading
def make():
    for family, protocol in ((2, 200), (%d, 0)):
        try: socket.socket(family, 1, protocol).close()
        except OSError: pass
threads = [threading.Thread(target=make) for _ in range(40)]
[t.start() for t in threads]; [t.join() for t in threads]
"""

# Connections over lo, whose child sockets are allocated in softirq on a CPU that is busy making sockets.
CONNECTIONS = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
end = time.monotonic() + 2
def connect():
    while time.monotonic() < end:
        try: socket.create_connection(listener.getsockname(), timeout=1).close()
        except OSError: pass
def accept():
    listener.settimeout(0.5)
    while time.monotonic() < end:
        try: listener.accept()[0].close()
        except OSError: pass
def make():
    while time.monotonic() < end: socket.socket(2, 2, 0).close()
threads = [threading.Thread(target=f) for f in (connect, connect, accept, make)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
SHAPE = in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))
ONE_KRETPROBE_SLOT = ("trace", "--format", "json", "--mechanism", "kprobe", "--maxactive", "1", "--")


def test_a_missed_return_is_counted_and_its_trace_is_not_merged_with_the_next():
    result = inetprobe(*ONE_KRETPROBE_SLOT, sys.executable, "-c", SLEEPERS % 2)
    summary = result.summary
    assert summary["entries"] == 80 + summary["filtered"]
    assert accounted(summary), summary
    assert summary["probe_misses"], "maxactive 1 missed nothing: the test shows nothing"
    assert sum(summary["incomplete"].values()), summary
    for trace in result.traces:
        if trace["complete"] and trace["protocol"] == 0:
            assert [(call["depth"], call["function"]) for call in trace["calls"]] == SHAPE
        if trace["complete"] and trace["protocol"] == 200:
            names = [call["function"] for call in trace["calls"]]
            assert names == ["__sys_socket", "inet_create", "__request_module", "__request_module"]
        if not trace["complete"]:
            assert trace["verdict"] == "incomplete"


def test_a_missed_return_revealed_by_a_socket_of_another_family_is_not_merged_with_it():
    result = inetprobe(*ONE_KRETPROBE_SLOT, sys.executable, "-c", SLEEPERS % 1)
    summary = result.summary
    # Of the other family's calls those count whose own return was missed, which the end of the thread reveals.
    others = summary["lost"].get("thread_died", 0)
    assert summary["entries"] == 40 + others + summary["filtered"]
    assert summary["lost"].keys() <= {"thread_died"}
    assert accounted(summary), summary
    # Noticed at once, not only when the thread ends.
    assert summary["incomplete"]["return_missed"], summary
    assert sum(trace["family"] == 2 for trace in result.traces) == 40
    for trace in result.traces:
        names = [call["function"] for call in trace["calls"]]
        assert trace["family"] != 2 or names == ["__sys_socket", "inet_create", "__request_module", "__request_module"]


@TWO_CPUS
def test_calls_of_interrupts_are_left_out_of_the_trace():
    rps = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
    before = rps.read_text()
    rps.write_text("3")
    try:
        result = inetprobe(
            "trace", "--format", "json", "--mechanism", "kprobe", "--", sys.executable, "-c", CONNECTIONS
        )
    finally:
        rps.write_text(before)
    assert accounted(result.summary), result.summary
    assert len(result.traces) > 150
    for trace in result.traces:
        assert trace["complete"]
        assert [(call["depth"], call["function"]) for call in trace["calls"]] == SHAPE
    print("foreign calls set aside:", result.summary["foreign"], "of", len(result.traces), "traces")
