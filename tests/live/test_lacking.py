"""Kernels of other distributions, by one feature each: what a kernel here has is taken away before it is traced."""

from pathlib import Path

import pytest

from inetprobe.kernel.host import syscall, tracefs
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import constants
from tests.live.conftest import MECHANISMS, inetprobe
from tests.live.test_hard import all_complete, run_python

FIFTY = "import socket\nfor _ in range(50): socket.socket(2, 1, 0).close()"
KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")


def traced(result):
    assert len(result.traces) == 50
    assert all_complete(result), result.summary
    return result


@MECHANISMS
def test_no_task_storage(mechanism, monkeypatch):
    """Before Linux 5.12."""
    read, of_program = Symbols.of_kernel, constants.of_program

    def hash_only(*arguments, task_storage, **named):
        assert not task_storage
        return of_program(*arguments, task_storage=task_storage, **named)

    everything = read()
    monkeypatch.setattr(
        Symbols, "of_kernel", lambda: Symbols(everything._names - {"bpf_task_storage_get"}, everything.image)
    )
    monkeypatch.setattr(constants, "of_program", hash_only)
    traced(run_python(FIFTY, mechanism=mechanism))


def test_no_direct_calls(monkeypatch):
    """Without CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS the kernel makes no trampoline: -ENOTSUPP."""
    attach = syscall.attach

    def refuse(program, tracepoint=None):
        if tracepoint is None:
            raise OSError(524, "Unknown error 524")
        return attach(program, tracepoint)

    monkeypatch.setattr(syscall, "attach", refuse)
    result = traced(run_python(FIFTY, mechanism="fentry"))
    assert result.err.count("refuses fentry (it was built without direct calls from ftrace): every function") == 1
    assert "fentry refuses" not in result.err
    assert result.summary["probe_hits"]["inet_create:entry"] == 50


def test_tracefs_only_under_debugfs(monkeypatch):
    """Where only debugfs is mounted."""
    below = (Path("/sys/kernel/debug/tracing"),)
    for function in tracefs.tracefs, tracefs.writable:
        monkeypatch.setattr(function, "__defaults__", (below,))
    assert tracefs.writable() == below[0]
    result = traced(run_python(FIFTY, mechanism="kprobe"))
    assert result.summary["probe_hits"]["inet_create:entry"] == 50


def test_cgroup_v1(monkeypatch, tmp_path):
    """No cgroup2 is mounted."""
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n")
    monkeypatch.setattr(Cgroups.of_host.__func__, "__defaults__", (mounts,))
    traced(run_python(FIFTY))
    refused = inetprobe("trace", "--cgroup", "/some", "--duration", "1s")
    assert refused.status == 2, refused.err
    assert "Traceback" not in refused.err


@pytest.fixture
def hidden_addresses():
    before = KPTR_RESTRICT.read_text()
    KPTR_RESTRICT.write_text("2")
    yield
    KPTR_RESTRICT.write_text(before)


@MECHANISMS
def test_kptr_restrict_2(mechanism, hidden_addresses):
    """Root sees no addresses either: kernel stacks have no names, and it is said why."""
    assert not Symbols.of_kernel().image
    traced(run_python(FIFTY, mechanism=mechanism))
    refused = inetprobe("trace", "--stack", "kernel", "--duration", "1s")
    assert refused.status == 3
    assert "set kernel.kptr_restrict below 2" in refused.err.splitlines()[-1]
