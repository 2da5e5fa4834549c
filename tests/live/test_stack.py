"""--stack by both mechanisms: the known functions of a program compiled here, and the kernel's own functions."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from inetprobe.kernel.host import privileges
from inetprobe.record.layout import define
from tests.live.conftest import HERE, MECHANISMS, accounted, inetprobe, tracing

TIMES = 3
USERS = ["socket", "culprit", "accomplice", "main"]
KERNEL = ["__x64_sys_socket", "do_syscall_64"]
NOBODY = 65534
# nanosleep(2) and clock_nanosleep(2) of x86-64.
SLEEPS = ("35 ", "230 ")
# Fails to make a socket, then executes another program.
EXECUTES = """
import os, socket
try: socket.socket(2, 1, 200)
except OSError: os.execvp("sleep", ["sleep", "60"])
"""
# Fails to make a socket, with a FIFO in the place of its JIT's symbol map.
FIFO_MAP = """
import os, socket, time
os.mkfifo(f"/tmp/perf-{os.getpid()}.map")
try: socket.socket(2, 1, 200)
except OSError: time.sleep(60)
"""
# bpftrace prints both stacks of the call, then exits by itself: a SIGINT that arrives while it looks up names is lost
# (0.17, BPFtrace::poll_perf_events).
WITNESS = """
kprobe:__sys_socket /comm == "stack_maker" && arg2 == 200/ { printf("%s\\n---%s\\n===\\n", kstack, ustack); exit(); }
"""


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    built = tmp_path_factory.mktemp("stack") / "stack_maker"
    flags = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(["gcc", *flags, "-o", built, HERE / "stack_maker.c"], check=True)
    return built


def names(frames):
    # libc has two names for socket(), and bcc takes either.
    return [name.replace("__socket", "socket") for name in (frame.partition("+")[0] for frame in frames)]


def failed(result):
    return [trace for trace in result.traces if trace["errno"] is not None]


def trace_of(tracer, pid):
    (trace,) = [trace for trace in failed(tracer) if trace["pid"] == pid]
    return trace


@MECHANISMS
def test_both_stacks_name_the_callers(maker, mechanism, tmp_path):
    recording = tmp_path / "stack.arrows"
    result = inetprobe(
        "trace", "--stack", "user,kernel", "--format", "json", "--mechanism", mechanism, "-o", recording, "--",
        maker, TIMES, 2000,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert accounted(result.summary)
    assert [trace["errno"] for trace in result.traces] == [None, *["EPROTONOSUPPORT"] * TIMES]
    assert result.traces[0]["stack"] is None, "a fast and successful socket has a stack"
    for trace in failed(result):
        print(mechanism, trace["stack"])
        assert list(trace)[-1] == "stack"
        kernel, user = names(trace["stack"]["kernel"]), names(trace["stack"]["user"])
        assert kernel[:2] == KERNEL
        assert "do_syscall_64" in kernel
        assert kernel[-1].startswith("entry_SYSCALL_64")
        assert user[:4] == USERS
        assert all(frame.endswith(" (stack_maker)") for frame in trace["stack"]["user"][1:4])
        assert "lost" not in trace["stack"]
        assert "0xffff" not in json.dumps(trace)
    replayed = inetprobe("replay", recording, "--format", "json")
    assert replayed.out == "".join(line for line in result.out.splitlines(True) if line.startswith("{"))
    tree = inetprobe("replay", recording, "--failed").out
    assert re.search(r"\n  kernel stack:\n    __x64_sys_socket\+0x", tree)
    assert re.search(r"\n  user stack:\n    (__)?socket\+0x7 \(libc.so.6\)\n    culprit\+0x", tree)


def test_bpftrace_prints_the_same_stacks(maker, tmp_path):
    with (tmp_path / "witness").open("w+") as out:
        witness = subprocess.Popen(["bpftrace", "-e", WITNESS], stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while "__sys_socket " not in Path("/sys/kernel/tracing/enabled_functions").read_text():
            assert time.monotonic() < deadline, Path(out.name).read_text()
            time.sleep(0.1)
        result = inetprobe("trace", "--stack", "kernel", "--stack", "user", "--format", "json", "--", maker, 1, 5000)
        witness.wait(120)
        output = Path(out.name).read_text()
    kernel, user = re.search(r"\n\s*__sys_socket\+\d+\n(.*?)---(.*?)===", output, re.DOTALL).groups()
    assert result.status == 0, output
    (trace,) = failed(result)
    print(output, trace["stack"])

    def parsed(frames):  # (name, offset) of each
        return [(name, int(offset, 0)) for name, offset in re.findall(r"(\w+)\+(0x[0-9a-f]+|\d+)", " ".join(frames))]

    assert parsed(trace["stack"]["kernel"]) == parsed([kernel])
    # libc's wrapper of socket() hides its caller from frame pointers, and the tools may name it differently.
    (culprit, *callers) = parsed(frame for frame in trace["stack"]["user"] if frame.endswith(" (stack_maker)"))
    assert culprit[0] == "culprit"
    assert callers == parsed([user])[1:3]
    assert [name for name, _ in callers] == ["accomplice", "main"]


def test_stack_slow_0_gives_every_socket_its_kernel_stack(maker):
    result = inetprobe("trace", "--stack", "kernel", "--stack-slow", "0", "--format", "json", "--", maker, 1, 0)
    assert result.status == 0, result.err
    assert [list(trace["stack"]) for trace in result.traces] == [["kernel"], ["kernel"]]
    assert all(names(trace["stack"]["kernel"])[:2] == KERNEL for trace in result.traces)
    assert "stacks_lost" not in result.summary


@pytest.fixture(scope="module")
def stopped(maker):
    """The result of a tracer that was stopped while processes came and went, so it reads their maps late."""
    closed = Path("/tmp/of-nobody")  # a folder that only the user nobody may enter
    shutil.rmtree(closed, ignore_errors=True)
    closed.mkdir()
    shutil.copy(maker, closed / "stack_maker")
    os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o700)
    pids, processes = {}, []
    with tracing("--stack", "user", "--also", "sock_init_data") as tracer:
        tracer.capabilities = effective_of(tracer.process.pid)
        tracer.process.send_signal(signal.SIGSTOP)
        ended = subprocess.Popen([maker, "1", "0"])
        ended.wait()
        pids["ended"] = ended.pid
        for name, argv, user in (
            ("executed", [sys.executable, "-c", EXECUTES], {}),
            ("fifo", [sys.executable, "-c", FIFO_MAP], {}),
            ("deep", [maker, "1", "60000", "200"], {}),
            ("nobody", [closed / "stack_maker", "1", "60000"], {"user": NOBODY, "group": NOBODY, "extra_groups": []}),
            ("python", [sys.executable, "-c", "import socket, time\ntry: socket.socket(2, 1, 200)\n"
                        "except OSError: time.sleep(60)"], {}),
        ):  # fmt: skip
            processes.append(subprocess.Popen(argv, **user))
            pids[name] = processes[-1].pid
        deadline = time.monotonic() + 120
        while not all(Path(f"/proc/{process.pid}/syscall").read_text().startswith(SLEEPS) for process in processes):
            assert time.monotonic() < deadline, pids
            time.sleep(0.1)
        tracer.process.send_signal(signal.SIGCONT)
        while not set(pids.values()) <= {line.get("pid") for line in tracer.read()}:
            assert time.monotonic() < deadline, pids
            time.sleep(0.2)
        for process in processes:
            process.kill()
            process.wait()
    shutil.rmtree(closed)
    tracer.pids = pids
    return tracer


def test_a_process_that_has_ended_has_no_frames(stopped):
    assert stopped.status == 0, stopped.err
    assert trace_of(stopped, stopped.pids["ended"])["stack"] == {"user": [], "lost": {"user": "exited"}}
    # Of all traces: a process of the machine's own may have made a socket and ended meanwhile.
    stacks = [trace["stack"] for trace in stopped.traces if trace["stack"]]  # those that succeeded have none
    lost = Counter(f"user:{stack['lost']['user']}" for stack in stacks if "lost" in stack)
    assert stopped.summary["stacks_lost"] == lost
    assert f"stacks without all frames (user:executed 1, user:exited {lost['user:exited']}, " in stopped.err


def test_a_process_that_has_executed_another_program_has_no_frames(stopped):
    assert trace_of(stopped, stopped.pids["executed"])["stack"] == {"user": [], "lost": {"user": "executed"}}


def test_a_fifo_in_the_place_of_a_jit_map_does_not_block_the_reader(stopped):
    assert trace_of(stopped, stopped.pids["fifo"])["stack"] == {"user": [], "lost": {"user": "unreadable"}}


def test_a_stack_that_is_too_deep_is_marked_as_truncated(stopped):
    stack = trace_of(stopped, stopped.pids["deep"])["stack"]
    assert stack["lost"] == {"user": "truncated"}
    assert names(stack["user"])[:3] == ["socket", "culprit", "deep"]
    assert names(stack["user"]).count("deep") == define("USER_FRAMES") - 2


def test_a_program_in_another_user_s_closed_folder_has_names(stopped):
    assert names(trace_of(stopped, stopped.pids["nobody"])["stack"]["user"])[:4] == USERS


def test_a_program_without_frame_pointers_has_its_innermost_frames(stopped):
    frames = trace_of(stopped, stopped.pids["python"])["stack"]["user"]
    print(frames)
    assert names(frames)[0] == "socket"
    assert len(frames) > 1
    assert "(python3" in frames[1] or "_socket" in frames[1]


def effective_of(pid):
    """The capabilities of a tracer, of its child, and of the child's."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        privileges.effective(Path(f"/proc/{pid}/status")),
        *(one for child in children for one in effective_of(child)),
    ]


def test_only_the_process_that_reads_others_keeps_a_capability(stopped):
    """Before it is first asked it has no worker."""
    assert stopped.capabilities == [frozenset(), privileges.PROCESSES]
