"""Cases that tracers get wrong, each with a result known beforehand; one tracer per mechanism traces all of them."""

import contextlib
from pathlib import Path

import pytest

from tests.live.conftest import TWO_CPUS, Shared, accounted, in_socket, shape, skipped, tracing
from tests.live.modprobe_setting import modprobe_is, shell_program

CREATED = [(0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc")]
PLAIN = in_socket(*CREATED)


@pytest.fixture(scope="module", params=["kprobe", "fentry"])
def shared(request):
    with tracing("--mechanism", request.param) as tracer:
        shared = Shared(tracer, request.param)
        yield shared
    summary = tracer.summary
    assert accounted(summary), summary
    assert not summary["probe_misses"]
    # A kernel that preempts itself (7.2) skips fentry programs: each skip spoils at most one trace, and is counted.
    assert request.param == "fentry" or not skipped(summary), summary
    assert shared.spoilt <= skipped(summary), summary
    assert sum(summary["lost"].values()) + sum(summary["incomplete"].values()) <= skipped(summary), summary


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Replaces the check of conftest.py: the shared tracer's probes stay from test to test."""


@pytest.fixture
def modprobe(tmp_path):
    """Replaces modprobe by a program that sleeps for a number of seconds and then fails."""
    with contextlib.ExitStack() as stack:

        def sleeping(seconds):
            program = shell_program(tmp_path / "modprobe", f"sleep {seconds}\nexit 1")
            stack.enter_context(modprobe_is(program))

        yield sleeping


@TWO_CPUS
def test_300_threads_that_sleep_in_request_module_all_return(shared, modprobe):
    modprobe(seconds=1)
    program = (
        "import socket, threading\n"
        "def make():\n"
        "    try: socket.socket(2, 1, 200)\n"
        "    except OSError: pass\n"
        "threads = [threading.Thread(target=make) for _ in range(300)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    traces = shared.run(program, expected=300)
    assert len(traces) <= 300
    assert all(shape(trace) == in_socket((0, "inet_create"), *[(1, "__request_module")] * 2) for trace in traces)


def test_the_tcp_socket_inside_an_mptcp_socket_is_nested(shared):
    switch = Path("/proc/sys/net/mptcp/enabled")
    built_in = switch.exists()  # not in Debian's 5.10
    before = switch.read_text() if built_in else ""
    if built_in:
        switch.write_text("1")
    try:
        traces = shared.run(
            "import socket, contextlib\nwith contextlib.suppress(OSError): socket.socket(2, 1, 262).close()",
            expected=1,
        )
    finally:
        if built_in:
            switch.write_text(before)
    (trace,) = traces
    if not built_in:
        assert trace["errno"] == "EPROTONOSUPPORT"
        assert shape(trace) == in_socket((0, "inet_create"), *[(1, "__request_module")] * 2)
        return
    assert trace["prot"] == "MPTCP"
    nested = [(1, "inet_create"), (2, "sk_alloc"), (3, "sk_prot_alloc")]  # in mptcp_init_sock(), up to Linux 6.5
    assert shape(trace) in (PLAIN, in_socket(*CREATED, *nested))


def test_a_process_killed_inside_request_module_still_gets_a_whole_trace(shared, modprobe):
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
    (trace,) = shared.run(program, expected=1)
    assert trace["errno"] == "EPROTONOSUPPORT"
    assert trace["calls"][2]["result"] < 0


@TWO_CPUS
def test_processes_that_exit_at_once_are_all_traced(shared):
    program = (
        "import os, socket\n"
        "for _ in range(300):\n"
        "    if not os.fork():\n"
        "        socket.socket(2, 1, 0)\n"
        "        os._exit(0)\n"
        "for _ in range(300): os.wait()"
    )
    traces = shared.run(program, expected=300)
    assert len({trace["pid"] for trace in traces}) == len(traces)
    assert shared.of_shape(traces, PLAIN)


@TWO_CPUS
def test_threads_of_one_process_keep_their_own_traces(shared):
    program = (
        "import socket, threading\n"
        "def make(type_, protocol):\n"
        "    for _ in range(200): socket.socket(2, type_, protocol).close()\n"
        "threads = [threading.Thread(target=make, args=a) for a in [(1, 0), (2, 0), (3, 1), (2, 17)] * 2]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    traces = shared.run(program, expected=1600)
    by_thread = {}
    for trace in shared.of_shape(traces, PLAIN):
        by_thread.setdefault(trace["tid"], []).append((trace["type"], trace["protocol"], trace["prot"]))
    assert len(by_thread) == 8
    assert all(len(set(made)) == 1 for made in by_thread.values())
    assert len({trace["pid"] for trace in traces}) == 1


def test_a_process_in_other_namespaces_has_the_host_s_pid_and_netns(shared, tmp_path):
    inside = (
        "import os, socket, sys; socket.socket(2, 1, 0)\n"
        "print(os.getpid(), os.stat('/proc/self/ns/net').st_ino, flush=True); sys.stdin.read()"
    )
    program = (
        "import subprocess, sys\n"
        f"maker = subprocess.Popen(['unshare', '-n', '-p', '-f', sys.executable, '-c', {inside!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "report = maker.stdout.readline()\n"
        "child = open(f'/proc/{maker.pid}/task/{maker.pid}/children').read()\n"
        f"open({str(tmp_path / 'report')!r}, 'w').write(report + child)\n"
        "maker.communicate()"
    )
    traces = shared.run(program, expected=1)
    own_pid, netns, host_pid = (tmp_path / "report").read_text().split()
    (trace,) = [trace for trace in traces if not trace["kernel_socket"]]
    assert own_pid == "1"
    assert (trace["pid"], trace["netns"]) == (int(host_pid), int(netns))
    assert trace["netns"] != Path("/proc/self/ns/net").stat().st_ino
