"""What happens to a machine or to inetprobe itself while it traces: docs/reliability.md has all of them."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inetprobe.kernel.host import tracefs
from inetprobe.kernel.host.kallsyms import Symbols
from tests.kernel.test_process_reader import children
from tests.live import cgroup_denial
from tests.live.conftest import KERNEL, MECHANISMS, TWO_CPUS, accounted, inetprobe, skipped, tracing
from tests.live.modprobe_setting import modprobe_is, shell_program
from tests.live.test_counting import wait_for

TRACEFS = Path("/sys/kernel/tracing")
CPU = Path("/sys/devices/system/cpu/cpu1/online")
POWER = Path("/sys/power")
L2TP = 115
HOUR = 3600
# Sockets that succeed, and each time one that fails and so has a stack, until somebody ends it.
LOAD = """
import ctypes, time
libc = ctypes.CDLL(None)
while True:
    for protocol in [0] * 20 + [1000]: libc.close(libc.socket(2, 1, protocol))
    time.sleep(0.05)
"""


def make(count):
    subprocess.run(
        [sys.executable, "-c", f"import socket\nfor _ in range({count}): socket.socket(2, 2, 0).close()"], check=True
    )


def shown_by(tracer):
    """The traces that it has printed by now, none of them in part."""
    return [line for line in tracer.read() if line["kind"] == "trace"]


def test_a_run_keeps_its_tracefs_where_it_is_unmounted():
    """An ordinary umount is refused; after a lazy one hits are counted and the probes are taken away all the same."""
    with tracing("--mechanism", "kprobe") as tracer:
        refused = subprocess.run(["umount", TRACEFS], capture_output=True, text=True, check=False)
        subprocess.run(["umount", "-l", TRACEFS], check=True)
        try:
            make(20)
        finally:
            os.kill(tracer.process.pid, signal.SIGINT)
            os.waitid(os.P_PID, tracer.process.pid, os.WEXITED | os.WNOWAIT)
            subprocess.run(["mount", "-t", "tracefs", "none", TRACEFS], check=True)
    assert "busy" in refused.stderr
    assert tracer.status == 0, tracer.err
    assert len(tracer.traces) == 20
    assert accounted(tracer.summary), tracer.summary
    assert tracer.summary["probe_hits"]["inet_create:entry"] >= 20
    assert "inetprobe_" not in (TRACEFS / "kprobe_events").read_text()


def killed_by_signal(pid, _cgroup):
    os.kill(pid, signal.SIGKILL)


def killed_for_memory(pid, cgroup):
    """By the kernel, in a cgroup that may have no memory."""
    (cgroup.parent / "cgroup.subtree_control").write_text("+memory")
    (cgroup / "cgroup.procs").write_text(str(pid))
    (cgroup / "memory.max").write_text("0")
    wait_for(lambda: re.search(r"^oom_kill [1-9]", (cgroup / "memory.events").read_text(), re.MULTILINE))


@pytest.mark.parametrize("killed", [killed_by_signal, killed_for_memory])
def test_a_tracer_that_is_killed_under_load_leaves_a_recording_and_its_command(killed, tmp_path):
    recording = tmp_path / "killed.arrows"
    options = ("--mechanism", "kprobe", "--stack", "user", "-o", recording)
    with cgroup_denial.cgroup("inetprobe-killed") as cgroup:
        with tracing(*options, "--", sys.executable, "-c", LOAD) as tracer:
            wait_for(lambda: any(trace["errno"] and trace["stack"]["user"] for trace in shown_by(tracer)))
            (command,) = {trace["pid"] for trace in shown_by(tracer)}
            readers = [pid for pid in children(tracer.process.pid) if pid != command]
            readers += [worker for reader in readers for worker in children(reader)]
            wait_for(lambda: len(shown_by(tracer)) > 200)
            shown = [trace["id"] for trace in shown_by(tracer)]
            time.sleep(2)  # the recording is at most a second behind
            killed(tracer.process.pid, cgroup)
            os.waitid(os.P_PID, tracer.process.pid, os.WEXITED | os.WNOWAIT)
        try:
            assert tracer.status == -signal.SIGKILL
            assert len(readers) == 2
            wait_for(lambda: not any(Path(f"/proc/{reader}/exe").exists() for reader in readers))
            ran = Path(f"/proc/{command}/schedstat").read_text()
            wait_for(lambda: Path(f"/proc/{command}/schedstat").read_text() != ran)
        finally:
            os.kill(command, signal.SIGKILL)
    replayed = inetprobe("replay", recording, "--format", "json")
    assert replayed.status == 4
    assert [trace["id"] for trace in replayed.traces][: len(shown)] == shown
    assert tracefs.remove_leftovers(TRACEFS) > 2 * len(Symbols.of_kernel().present())  # as the next start does


def test_a_trace_after_the_wall_clock_was_set_has_the_new_time():
    with tracing() as tracer:
        begun = time.time()
        make(1)
        wait_for(tracer.read)
        time.clock_settime(time.CLOCK_REALTIME, time.time() + HOUR)
        try:
            time.sleep(1.5)
            make(1)
            wait_for(lambda: len(tracer.read()) == 2)
        finally:
            time.clock_settime(time.CLOCK_REALTIME, time.time() - HOUR)
    first, second = (
        datetime.strptime(trace["time"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp() - begun
        for trace in tracer.traces
    )
    assert -1 <= first < 60
    assert HOUR <= second < HOUR + 60
    assert accounted(tracer.summary)


def test_a_run_goes_on_after_all_threads_were_frozen():
    """The first step of a suspend, and its last: this VM does not wake up from a whole one."""
    Path("/sys/module/suspend/parameters/pm_test_delay").write_text("1")
    with tracing() as tracer:
        maker = subprocess.Popen([sys.executable, "-c", LOAD])
        wait_for(tracer.read)
        (POWER / "pm_test").write_text("freezer")
        before = time.monotonic()
        (POWER / "state").write_text("freeze")
        took = time.monotonic() - before
        (POWER / "pm_test").write_text("none")
        thawed = len(tracer.read())
        wait_for(lambda: len(tracer.read()) > thawed + 100)
        maker.kill()
        maker.wait()
        make(20)
    assert took >= 1
    assert accounted(tracer.summary), tracer.summary
    assert not tracer.summary["lost"].keys() - {"ring_full"}
    assert sum(trace["type"] == 2 for trace in tracer.traces) == 20


def test_a_protocol_s_module_that_is_removed_under_load_costs_no_trace():
    """L2TP's: SCTP's is never removed, since a socket of its own uses it."""
    program = f"""
import ctypes, time
libc, made = ctypes.CDLL(None), []
end = time.monotonic() + 4
while time.monotonic() < end:
    made.append(libc.socket(2, 2, {L2TP}))
    libc.close(made[-1])
    time.sleep(0.002)
print(*made)
"""
    subprocess.run(["modprobe", "-r", "l2tp_ip6", "l2tp_ip"], check=True)
    with tracing() as tracer:
        maker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        while maker.poll() is None:
            subprocess.run(["modprobe", "-r", "l2tp_ip"], check=False, stderr=subprocess.DEVNULL)  # in use at times
        made = maker.communicate()[0].split()
    traces = [trace for trace in tracer.traces if trace["protocol"] == L2TP]
    # Where it is removed again before its socket is made, there is none.
    assert [trace["outcome"] == "ok" for trace in traces] == [descriptor != "-1" for descriptor in made]
    assert all((trace["complete"], trace["verdict"]) == (True, "as_predicted") for trace in traces), traces
    loaded = sum(any(call["function"] == "__request_module" for call in trace["calls"]) for trace in traces)
    assert loaded > 2
    assert accounted(tracer.summary), tracer.summary


def test_a_disk_that_fills_up_ends_a_recording_which_can_be_read_up_to_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], check=True)
    try:
        recording = disk / "full.arrows"
        result = inetprobe("record", "-o", recording, "--", sys.executable, "-c", LOAD)
        assert result.status == 125
        assert result.err.splitlines()[-1] == (
            f"inetprobe: the recording {recording} cannot be written: No space left on device: "
            "name another file or make room"
        )
        assert recording.stat().st_size > 60_000
        replayed = inetprobe("replay", recording, "--format", "json")
        assert replayed.status == 4
        assert replayed.traces
        os.kill(replayed.traces[0]["pid"], signal.SIGKILL)  # COMMAND lives on
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_function_that_the_kernel_lets_nobody_probe_is_one_sentence():
    """get_kprobe() is one of kprobes' own (NOKPROBE_SYMBOL); the functions before it are attached by then."""
    result = inetprobe("trace", "--mechanism", "kprobe", "--also", "get_kprobe,tcp_v4_init_sock", "--", "true")
    assert result.status == 3
    assert result.err.splitlines()[-1].startswith("inetprobe: cannot attach to get_kprobe: Invalid argument: ")
    assert "Traceback" not in result.err


@MECHANISMS
def test_a_tracer_that_begins_costs_another_one_the_returns_of_calls_under_way_by_fentry_alone(mechanism, tmp_path):
    """A trampoline is made anew for each further program, and whoever is inside the old one then returns past the
    programs (bpf_tramp_image_put() of kernel/bpf/trampoline.c): so on 5.10, 6.1 and 6.12, and no longer on 7.2."""
    begun, held = tmp_path / "begun", tmp_path / "held"
    held.touch()
    waiting = shell_program(tmp_path / "modprobe", f"touch {begun}\nwhile [ -e {held} ]; do sleep 0.1; done\nexit 1")
    program = "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.socket(2, 1, 200)\nlibc.socket(2, 1, 0)"
    with tracing("--mechanism", mechanism) as tracer, modprobe_is(waiting):
        maker = subprocess.Popen([sys.executable, "-c", program])
        wait_for(begun.exists)
        second = inetprobe("trace", "--mechanism", mechanism, "--duration", "1s")
        held.unlink()
        assert maker.wait(60) == 0
    assert second.status == 0, second.err
    assert accounted(tracer.summary), tracer.summary
    complete = mechanism == "kprobe" or KERNEL >= (7, 0)
    made = [(trace["protocol"], trace["complete"], trace["outcome"]) for trace in tracer.traces]
    assert made == [(200, complete, "failed" if complete else "unknown"), (0, True, "ok")]
    assert tracer.summary["incomplete"] == ({} if complete else {"return_missed": 1})
    assert not tracer.summary["lost"]


@TWO_CPUS
@MECHANISMS
def test_a_cpu_that_goes_and_comes_back_costs_no_trace(mechanism):
    """The tracer may run on this CPU alone, on which its probes are opened; its makers of sockets on both."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        with tracing("--mechanism", mechanism) as tracer:
            os.sched_setaffinity(0, cpus)
            program = "import socket, time\nfor _ in range(2000): socket.socket(2, 2, 0).close(); time.sleep(0.001)"
            makers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
            changes = 0
            while any(maker.poll() is None for maker in makers):
                CPU.write_text(str(changes % 2))
                changes += 1
                time.sleep(0.3)
            CPU.write_text("1")
            make(20)
    finally:
        CPU.write_text("1")
        os.sched_setaffinity(0, cpus)
    assert changes >= 4
    assert accounted(tracer.summary), tracer.summary
    # A kernel that preempts itself skips programs of fentry, and counts them.
    lost, missed = sum(tracer.summary["lost"].values()), skipped(tracer.summary)
    assert 4020 - missed <= len(tracer.traces) + lost <= 4020, tracer.summary
    assert lost <= missed
    assert mechanism == "fentry" or not missed
    assert {trace["cpu"] for trace in tracer.traces} == {0, 1}
