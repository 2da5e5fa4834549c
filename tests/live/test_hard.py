"""The cases in which tracers lose or mix up events, each with a count that is known beforehand."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import HERE, accounted, command, inetprobe, shape, tracing

MECHANISMS = pytest.mark.parametrize("mechanism", ["kprobe", "fentry"])
ALLOCATED = [(1, "sk_alloc"), (2, "sk_prot_alloc")]
PLAIN = [(0, "inet_create"), *ALLOCATED]


def run_python(program, *options, mechanism="auto", timeout=300):
    argv = ["trace", "--format", "json", "--mechanism", mechanism, *options, "--", sys.executable, "-c", program]
    result = inetprobe(*argv, timeout=timeout)
    assert result.status == 0, result.err
    assert accounted(result.summary), result.summary
    return result


def all_complete(result):
    return all(trace["complete"] for trace in result.traces) and not result.summary["lost"]


@pytest.fixture
def modprobe(tmp_path):
    """Puts a program in modprobe's place that sleeps so many seconds, then finds nothing."""
    path = Path("/proc/sys/kernel/modprobe")
    before = path.read_text()
    helper = tmp_path / "modprobe"

    def sleeping(seconds):
        helper.write_text(f"#!/bin/busybox sh\nsleep {seconds}\nexit 1\n")
        helper.chmod(0o755)
        path.write_text(str(helper))

    yield sleeping
    path.write_text(before)


@MECHANISMS
def test_three_hundred_threads_asleep_in_request_module_all_return(mechanism, modprobe):
    modprobe(seconds=1)
    program = (
        "import socket, threading\n"
        "def make():\n"
        "    try: socket.socket(2, 1, 200)\n"
        "    except OSError: pass\n"
        "threads = [threading.Thread(target=make) for _ in range(300)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    result = run_python(program, mechanism=mechanism, timeout=500)
    assert result.summary["complete"] == 300
    assert not result.summary["probe_misses"]
    assert not result.summary["program_skipped"]


@MECHANISMS
def test_mptcp_s_own_socket_nests(mechanism):
    switch = Path("/proc/sys/net/mptcp/enabled")
    built_in = switch.exists()  # not in Debian's 5.10
    before = switch.read_text() if built_in else ""
    if built_in:
        switch.write_text("1")
    program = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.socket(2, 1, 262).close()"
    try:
        result = run_python(program, mechanism=mechanism)
    finally:
        if built_in:
            switch.write_text(before)
    (trace,) = result.traces
    assert trace["complete"]
    if not built_in:
        assert trace["errno"] == "EPROTONOSUPPORT"
        assert shape(trace) == [(0, "inet_create"), (1, "__request_module"), (1, "__request_module")]
        return
    assert trace["prot"] == "MPTCP"
    nested = [(1, "inet_create"), (2, "sk_alloc"), (3, "sk_prot_alloc")]  # in mptcp_init_sock(), up to Linux 6.5
    assert shape(trace) == PLAIN + nested * result.summary["nested"]


@MECHANISMS
def test_modprobe_s_own_sockets_are_traces_of_their_own(mechanism):
    subprocess.run(["modprobe", "-r", "sctp"], check=True)
    with tracing("--mechanism", mechanism) as tracer:
        subprocess.run([sys.executable, "-c", "import socket; socket.socket(2, 1, 132)"], check=True)
    assert accounted(tracer.summary), tracer.summary
    (mine,) = [trace for trace in tracer.traces if trace["comm"].startswith("python")]
    requests = [(1, "__request_module")] * 2
    assert shape(mine) == [(0, "inet_create"), *requests, *ALLOCATED]
    assert [call["result"] for call in mine["calls"][1:3]] == [256, 0]
    control = [trace for trace in tracer.traces if trace["comm"] == "modprobe"]
    assert control, "sctp makes control sockets of its own when it is loaded"
    assert all(trace["kernel_socket"] and trace["complete"] for trace in control)


@MECHANISMS
def test_sigkill_inside_request_module_still_returns(mechanism, modprobe):
    modprobe(seconds=3)
    program = (
        "import os, signal, socket, time\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    socket.socket(2, 1, 201)\n"
        "time.sleep(1)\n"
        "os.kill(child, signal.SIGKILL)\n"
        "_, status = os.wait()\n"
        "assert os.WIFSIGNALED(status)"
    )
    result = run_python(program, mechanism=mechanism)
    (trace,) = result.traces
    assert trace["complete"]
    assert trace["errno"] == "EPROTONOSUPPORT"
    assert trace["calls"][1]["result"] < 0


@MECHANISMS
def test_processes_that_exit_at_once(mechanism):
    program = (
        "import os, socket\n"
        "for _ in range(300):\n"
        "    if not os.fork():\n"
        "        socket.socket(2, 1, 0)\n"
        "        os._exit(0)\n"
        "for _ in range(300): os.wait()"
    )
    result = run_python(program, mechanism=mechanism)
    assert result.summary["complete"] == 300
    assert len({trace["pid"] for trace in result.traces}) == 300
    assert all(shape(trace) == PLAIN for trace in result.traces)


@MECHANISMS
def test_a_fork_storm_is_followed_to_its_last_leaf(mechanism):
    # Each of 2 + 4 + … + 128 processes makes one socket, and its parent waits for it.
    program = (
        "import os, socket\n"
        "def grow(depth):\n"
        "    for _ in range(2 * (depth > 0)):\n"
        "        if not os.fork():\n"
        "            socket.socket(2, 2, 0)\n"
        "            grow(depth - 1)\n"
        "            os._exit(0)\n"
        "    for _ in range(2 * (depth > 0)): os.wait()\n"
        "grow(7)"
    )
    result = run_python(program, mechanism=mechanism)
    assert result.summary["complete"] == sum(2**n for n in range(1, 8))
    assert not result.summary["unfollowed"]


@MECHANISMS
def test_threads_of_one_process_keep_their_own_traces(mechanism):
    program = (
        "import socket, threading\n"
        "def make(kind, protocol):\n"
        "    for _ in range(200): socket.socket(2, kind, protocol).close()\n"
        "threads = [threading.Thread(target=make, args=a) for a in [(1, 0), (2, 0), (3, 1), (2, 17)] * 2]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    result = run_python(program, mechanism=mechanism)
    assert len(result.traces) == 1600
    assert all_complete(result)
    by_thread = {}
    for trace in result.traces:
        assert shape(trace) == PLAIN
        by_thread.setdefault(trace["tid"], []).append((trace["type"], trace["protocol"], trace["prot"]))
    assert len(by_thread) == 8
    assert all(len(made) == 200 and len(set(made)) == 1 for made in by_thread.values())
    assert len({trace["pid"] for trace in result.traces}) == 1


def test_other_namespaces_are_reported_in_the_host_s_terms(tmp_path):
    inside = (
        "import os, socket, sys; socket.socket(2, 1, 0)\n"
        "print(os.getpid(), os.stat('/proc/self/ns/net').st_ino, flush=True); sys.stdin.read()"
    )
    program = (
        "import subprocess, sys\n"
        f"maker = subprocess.Popen(['unshare', '-n', '-p', '-f', sys.executable, '-c', {inside!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "said = maker.stdout.readline()\n"
        "child = open(f'/proc/{maker.pid}/task/{maker.pid}/children').read()\n"
        f"open({str(tmp_path / 'said')!r}, 'w').write(said + child)\n"
        "maker.communicate()"
    )
    result = run_python(program)
    own_pid, netns, host_pid = (tmp_path / "said").read_text().split()
    (trace,) = [trace for trace in result.traces if not trace["kernel_socket"]]
    assert own_pid == "1"
    assert (trace["pid"], trace["netns"]) == (int(host_pid), int(netns))
    assert trace["netns"] != Path("/proc/self/ns/net").stat().st_ino


def test_inside_a_pid_namespace_the_command_is_followed_too():
    program = (
        "import os, socket\nsocket.socket(2, 2, 0)\nif not os.fork(): socket.socket(2, 1, 0); os._exit(0)\nos.wait()"
    )
    line = ["unshare", "-p", "-f", "--mount-proc", *command("trace", "--format", "line", "-q", "--", sys.executable)]
    done = subprocess.run([*line, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    kinds = [line.split()[4] for line in done.stdout.splitlines()[1:]]
    assert sorted(kinds) == ["DGRAM", "STREAM"], done.stdout + done.stderr


def test_two_inetprobes_at_once_see_the_same():
    program = (
        "import ctypes, socket\n"
        "ctypes.CDLL(None).prctl(15, b'twice')\n"  # PR_SET_NAME
        "for n in range(500): socket.socket(2, 1 + n % 2, 0).close()"
    )
    with tracing("--mechanism", "kprobe", "--comm", "twice") as first, tracing("--comm", "twice") as second:
        subprocess.run([sys.executable, "-c", program], check=True)
    for tracer in (first, second):
        assert accounted(tracer.summary)
        assert len(tracer.traces) == 500
    assert [shape(trace) for trace in first.traces] == [shape(trace) for trace in second.traces]
    assert [(t["tid"], t["type"]) for t in first.traces] == [(t["tid"], t["type"]) for t in second.traces]


def test_what_a_killed_inetprobe_left_is_removed_by_the_next():
    events = Path("/sys/kernel/tracing/kprobe_events")
    with tracing("--mechanism", "kprobe") as killed:
        killed.process.kill()
    left = events.read_text().count("inetprobe_")
    assert left == 10
    result = run_python("import socket; socket.socket(2, 1, 0)")
    assert f"removed {left} probes" in result.err
    assert "inetprobe_" not in events.read_text()
    assert len(result.traces) == 1


def test_a_ring_far_too_small_loses_what_it_says_and_keeps_flowing():
    program = (
        "import socket, time\n"
        "for _ in range(20000): socket.socket(2, 1, 0).close()\n"
        "time.sleep(1)\n"
        "for _ in range(3): socket.socket(2, 3, 1).close()"
    )
    result = run_python(program, "--ring-size", "4096")
    assert len(result.traces) + result.summary["lost"]["ring_full"] == 20003
    assert result.summary["lost"]["ring_full"] > 0
    assert [trace["type"] for trace in result.traces[-3:]] == [3, 3, 3]
    told = sum(line["count"] for line in result.lines if line["kind"] == "lost")
    assert told == result.summary["lost"]["ring_full"]


@MECHANISMS
def test_two_busy_threads_lose_nothing(mechanism, tmp_path):
    program = (
        "import os, socket\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        for _ in range(20000): socket.socket(2, 2, 0).close()\n"
        "        os._exit(0)\n"
        "os.wait(); os.wait()"
    )
    recording = tmp_path / "busy.arrows"
    done = inetprobe("record", "-o", recording, "--mechanism", mechanism, "--", sys.executable, "-c", program)
    assert done.status == 0, done.err
    summary = inetprobe("replay", recording, "--format", "json", "--type", "raw").summary
    assert accounted(summary), summary
    assert not summary["lost"]
    assert not summary["incomplete"]
    assert summary["filtered"] >= 40000


# What each makes: two AF_UNIX of a pair, one AF_NETLINK, one AF_PACKET, and a connection accepted on each family.
FAMILIES = """
import socket
socket.socketpair()
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.create_server((host, 0), family=family)
    with socket.create_connection(listener.getsockname()[:2]):
        listener.accept()[0].close()
"""


@MECHANISMS
def test_all_families_are_shown_and_never_taken_for_inet_sockets(mechanism):
    Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tracing("--mechanism", mechanism, "--family", "all") as tracer:
        subprocess.run([sys.executable, "-c", FAMILIES], check=True)
    assert accounted(tracer.summary), tracer.summary
    assert all(trace["complete"] for trace in tracer.traces)
    python = [trace for trace in tracer.traces if trace["comm"].startswith("python")]
    bare = [trace for trace in tracer.traces if trace["type"] is None]
    assert all(trace["protocol"] is None and trace["errno"] is None for trace in bare)
    mine = [trace["family_name"] for trace in python if shape(trace) == [(0, "sk_alloc"), (1, "sk_prot_alloc")]]
    assert sorted(mine) == ["AF_NETLINK", "AF_PACKET", "AF_UNIX", "AF_UNIX"]
    accepted = [trace for trace in tracer.traces if shape(trace) == [(0, "sk_prot_alloc")]]
    assert sorted((trace["family_name"], trace["prot"]) for trace in accepted) == [
        ("AF_INET", "TCP"),
        ("AF_INET6", "TCPv6"),
    ]
    assert all(trace["context"] == "softirq" for trace in accepted)
    made = [trace["family_name"] for trace in python if trace["type"] is not None]
    assert sorted(made) == ["AF_INET", "AF_INET", "AF_INET6", "AF_INET6"]
    assert tracer.summary["accepted"] == {"AF_INET": 1, "AF_INET6": 1}
    assert tracer.summary["other_families"]["AF_PACKET"] == 1


@MECHANISMS
def test_also_splits_the_time_inside_inet_create(mechanism):
    program = "import socket\nfor _ in range(3): socket.socket(2, 1, 0).close()"
    also = "sock_init_data,tcp_v4_init_sock,security_sk_alloc"
    result = run_python(program, "--also", also, "--also", "tcp_init_sock", mechanism=mechanism)
    assert len(result.traces) == 3
    assert all_complete(result)
    for trace in result.traces:
        assert shape(trace) == [
            (0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"), (3, "security_sk_alloc"),
            (1, "sock_init_data"), (1, "tcp_v4_init_sock"), (2, "tcp_init_sock"),
        ]  # fmt: skip
        results = {call["function"]: call["result"] for call in trace["calls"]}
        assert results["tcp_v4_init_sock"] == 0
        assert results["sock_init_data"] is None
        inner = [call for call in trace["calls"] if call["depth"] == 1]
        assert sum(call["duration_ns"] for call in inner) <= trace["duration_ns"]


def test_also_of_a_function_that_is_not_there_names_the_nearest():
    result = inetprobe("trace", "--also", "tcp_v4_init_sok", "--", "true")
    assert result.status == 2
    assert "tcp_v4_init_sock" in result.err
    assert len(result.err.splitlines()) == 1


def test_both_mechanisms_give_the_same_traces(tmp_path):
    from .known import __file__ as known

    shown = []
    for mechanism in ("kprobe", "fentry"):
        recording = tmp_path / f"{mechanism}.arrows"
        done = inetprobe("record", "-q", "-o", recording, "--mechanism", mechanism, "--", sys.executable, known)
        assert done.status == 0, done.err
        replayed = inetprobe("replay", recording, "--format", "json", "--stable")
        shown.append([line for line in replayed.lines if line["kind"] == "trace"])
    assert len(shown[0]) == 23
    assert shown[0] == shown[1]


def test_attaching_and_detaching_fifty_times_under_load_shows_no_half_trace():
    stream = "import socket\nwhile True: socket.socket(2, 1, 0).close()"
    makers = [subprocess.Popen([sys.executable, "-c", stream]) for _ in range(2)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.live.cycles", "50"], capture_output=True, text=True, timeout=400, check=False
        )
    finally:
        for maker in makers:
            maker.send_signal(signal.SIGKILL)
            maker.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 cycles" in done.stdout
    print(done.stdout)


def test_once_attached_no_capability_is_left():
    with tracing() as tracer:
        time.sleep(0.3)
        status = Path(f"/proc/{tracer.process.pid}/status").read_text()
        tasks = [task.read_text() for task in Path(f"/proc/{tracer.process.pid}/task").glob("*/status")]
        subprocess.run([sys.executable, "-c", "import socket; socket.socket(2, 1, 0)"], check=True)
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Groups"].strip() == ""
    for task in tasks:
        fields = dict(line.split(":\t", 1) for line in task.splitlines() if ":\t" in line)
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert [trace for trace in tracer.traces if trace["comm"].startswith("python")]
    assert accounted(tracer.summary)
    assert os.geteuid() == 0


@pytest.fixture
def preempted_scrapers():
    """Two busy readers of a BPF map on a kernel that preempts them anywhere."""
    preempt = Path("/sys/kernel/debug/sched/preempt")
    if not preempt.exists():
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=False)
    if not preempt.exists():
        pytest.skip("this kernel cannot be told to preempt (CONFIG_PREEMPT_DYNAMIC), and so does not skip programs")
    text = preempt.read_text()
    before = text[text.index("(") + 1 : text.index(")")]
    preempt.write_text("full")
    scrapers = [subprocess.Popen([sys.executable, HERE / "scraper.py"], stdout=subprocess.PIPE) for _ in range(2)]
    for scraper in scrapers:
        scraper.stdout.readline()
    yield
    for scraper in scrapers:
        scraper.kill()
        scraper.communicate()
    preempt.write_text(before)


@MECHANISMS
def test_what_the_kernel_skips_is_counted(mechanism, preempted_scrapers):
    program = "import socket\nfor _ in range(10000): socket.socket(2, 1, 0).close()"
    result = run_python(program, mechanism=mechanism)
    summary = result.summary
    skipped = summary["program_skipped"].get("inet_create:entry", 0)
    # Skips hide what they skip, COMMAND or not: no more can be missing than they are.
    assert 10000 - skipped <= len(result.traces) + sum(summary["lost"].values()) <= 10000, summary
    for trace in result.traces:
        if trace["complete"]:
            assert shape(trace)[0] == (0, "inet_create")
    print(f"{mechanism}: {len(result.traces)} of 10000 traces, skipped {summary['program_skipped']}")
    if mechanism == "kprobe":
        assert skipped, "nothing was skipped: the test shows nothing"
