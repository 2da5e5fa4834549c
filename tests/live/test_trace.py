"""`inetprobe trace` and `inetprobe doctor` as a user runs them."""

import json
import os
import shlex
import signal
import subprocess
import sys

from tests.live import cgroup_denial
from tests.live.conftest import accounted, command, inetprobe, tracing

FAMILY_TREE = """
import os, socket, subprocess, sys, threading
def make(protocol):
    try: socket.socket(2, 2, protocol).close()
    except OSError: pass
make(101)
thread = threading.Thread(target=make, args=(102,)); thread.start(); thread.join()
if os.fork() == 0:
    make(103)
    if os.fork() == 0:
        make(104); os._exit(0)
    os.wait(); os._exit(0)
os.wait()
subprocess.run([sys.executable, '-c', 'import socket; socket.socket(2, 1, 0)'])
"""
UNRELATED = "import socket, time\nwhile True: socket.socket(2, 3, 1).close(); time.sleep(0.005)"


def test_children_are_followed_and_unrelated_processes_are_not():
    unrelated = subprocess.Popen([sys.executable, "-c", UNRELATED])
    try:
        result = inetprobe("trace", "--format", "json", "--", sys.executable, "-c", FAMILY_TREE)
    finally:
        unrelated.kill()
        unrelated.wait()
    assert result.status == 0, result.err
    assert sorted((t["type"], t["protocol"]) for t in result.traces) == [(1, 0), (2, 101), (2, 102), (2, 103), (2, 104)]
    assert len({trace["pid"] for trace in result.traces}) == 4
    assert result.summary["filtered"] > 0
    assert accounted(result.summary)


def test_filters_in_the_kernel_keep_only_matching_sockets():
    program = (
        "import socket\n"
        "for a in ((2,1,0),(2,2,0),(10,1,0),(2,1,99),(2,3,1)):\n"
        "    try: socket.socket(*a).close()\n"
        "    except OSError: pass"
    )
    # The first asks for TCP by protocol 0.
    filters = "--type", "stream", "--protocol", "tcp,!99", "--family", "inet"
    result = inetprobe("trace", "--format", "json", *filters, "--", sys.executable, "-c", program)
    assert [(t["family"], t["type"], t["protocol"]) for t in result.traces] == [(2, 1, 0)]
    assert accounted(result.summary)


TWICE = """
import os, socket, sys
socket.socket(2, 1, 0)
open(sys.argv[1] + "/inside/cgroup.procs", "w").write(str(os.getpid()))
socket.socket(2, 2, 0)
"""


def test_a_cgroup_is_found_inside_a_cgroup_namespace():
    """As in a container, the path is below the namespace's root, which is not the machine's."""
    with cgroup_denial.cgroup("inetprobe-outer") as outer:
        (outer / "inside").mkdir()
        maker = [sys.executable, "-c", TWICE, cgroup_denial.cgroup2_root()]
        trace = command("trace", "--format", "json", "--cgroup", "/inside", "--", *maker)
        done = subprocess.run(
            [sys.executable, "-m", "tests.live.in_cgroup_namespace", outer, *trace],
            capture_output=True,
            text=True,
            check=False,
        )
        (outer / "inside").rmdir()
    assert done.returncode == 0, done.stderr
    traces = [line for line in map(json.loads, done.stdout.splitlines()) if line["kind"] == "trace"]
    assert [(trace["type"], trace["cgroup"]) for trace in traces] == [(2, "/inside")], done.stderr


def test_a_raw_socket_of_an_unprivileged_user_is_refused_before_sk_alloc():
    program = "import socket; socket.socket(2, 3, 1)"
    result = inetprobe("trace", "-x", "--format", "json", "--user", "nobody", "--", sys.executable, "-c", program)
    assert result.status == 1  # Python's status for an exception
    (trace,) = result.traces
    assert trace["errno"] == "EPERM"
    assert trace["uid"] == 65534
    assert [call["function"] for call in trace["calls"]] == ["__sys_socket", "inet_create"]


def test_the_reader_has_nice_minus_10_and_the_command_keeps_nice_0():
    result = inetprobe("trace", "-q", "--format", "line", "--", "nice")
    assert "0" in result.out.splitlines()
    with tracing() as tracer:
        assert os.getpriority(os.PRIO_PROCESS, tracer.process.pid) == -10


def test_inetprobe_dies_of_the_signal_that_killed_the_command():
    result = inetprobe("trace", "--", "sh", "-c", "kill -TERM $$")
    assert result.status == -signal.SIGTERM


def test_ctrl_c_ends_trace_cleanly_and_the_recording_is_complete(tmp_path):
    recording = tmp_path / "live.arrows"
    tracer = subprocess.Popen(command("trace", "--format", "json", "-o", recording), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    line = tracer.stderr.readline()
    assert "tracing" in line, line
    subprocess.run([sys.executable, "-c", "import socket; socket.socket(2, 2, 0)"], check=True)
    first = json.loads(tracer.stdout.readline())
    assert first["kind"] == "trace"
    tracer.send_signal(signal.SIGINT)
    _, err = tracer.communicate(timeout=60)
    assert tracer.returncode == 0, err
    assert "1 complete" in err
    replayed = inetprobe("replay", recording, "--format", "json")
    assert [trace["id"] for trace in replayed.traces] == [first["id"]]


def test_a_closed_pipe_ends_trace_quietly():
    stream = "import socket, time\nwhile True: socket.socket(2, 1, 0).close(); time.sleep(0.05)"
    maker = subprocess.Popen([sys.executable, "-c", stream])
    try:
        line = " ".join(command("trace", "--format", "line")) + " | head -n 3"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=240, check=False
        )
    finally:
        maker.kill()
        maker.wait()
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert "Traceback" not in done.stderr


def test_doctor_says_that_this_kernel_can_be_traced():
    result = inetprobe("doctor", "--format", "json")
    assert result.status == 0, result.out
    report = json.loads(result.out)
    assert report["traceable"]
    tried = {check["name"]: (check["status"], check["finding"]) for check in report["checks"][-4:]}
    assert tried == {
        "kprobe": ("ok", "attached and detached: a kprobe and a kretprobe on __sys_socket, named in tracefs"),
        "fentry": ("ok", "attached and detached: fentry on __sys_socket"),
        "fexit": ("ok", "attached and detached: fexit on __sys_socket"),
        "tracepoint": ("ok", "attached and detached: sched_process_exit"),
    }


def test_doctor_tries_a_kprobe_without_a_name_where_there_is_no_tracefs():
    hide = "mount -t tmpfs none /sys/kernel/tracing && mount -t tmpfs none /sys/kernel/debug"
    doctor = shlex.join(command("doctor", "--format", "json"))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{hide} && exec {doctor}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["tracefs"]["status"] == "warning"
    assert checks["kprobe"]["status"] == "ok"
    assert checks["kprobe"]["finding"].endswith("a kprobe and a kretprobe on __sys_socket, without a name")
