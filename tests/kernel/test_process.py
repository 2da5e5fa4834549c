"""A live process as the model's caller: children of this one, with what the kernel really gave them."""

import ctypes
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inetprobe.base import text
from inetprobe.base.errors import HostError, UsageError
from inetprobe.kernel.host import installed_filters, privileges, process
from inetprobe.model.seccomp import Action, Instruction
from tests.support import sandbox
from tests.support.paths import ROOT
from tests.support.sandbox import RETURN, of_socket

CAP_NET_RAW = 13
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
FIRST = of_socket(Instruction(RETURN, 0, 0, Action.ERRNO | errno.EPERM))
SECOND = of_socket(Instruction(RETURN, 0, 0, Action.LOG))


# capable(CAP_SYS_ADMIN) of seccomp_get_filter() means the initial user namespace's.
ADMIN = pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"] or os.geteuid() != 0,
    reason="only root of the initial user namespace may read filters",
)


def unshare(flags):
    assert ctypes.CDLL(None).unshare(flags) == 0


@pytest.mark.parametrize(
    "name", [b"\xff\xfe CapEff:\t0", b"a\nCapEff:\t0", b"a\rCapEff:\tx", b"\xe2\x80\xa8Seccomp:\t1"]
)
def test_a_process_may_have_any_name(name):
    expected = privileges.effective()
    with sandbox.child(lambda: Path("/proc/self/comm").write_bytes(name)) as pid:
        caller = process.caller(pid)
        assert privileges.effective(Path(f"/proc/{pid}/status")) == expected
    assert caller.comm == text.decode(name[:15])
    assert caller.groups == {os.getegid(), *os.getgroups()}


@ADMIN
def test_the_filters_are_those_that_were_installed_in_their_order():
    def act():
        sandbox.install(FIRST)
        sandbox.install(SECOND)

    with sandbox.child(act) as pid:
        caller = process.caller(pid)
    assert (caller.pid, caller.filters) == (pid, (FIRST, SECOND))


def test_a_process_goes_on_after_its_filters_were_read():
    script = "import ctypes, sys, time\nprint('ready', flush=True)\nfor n in range(40): time.sleep(0.02)\nsys.exit(7)\n"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    for _ in range(10):
        assert installed_filters.filters_of(child.pid) == ()
    assert child.wait(10) == 7


def test_what_proc_says_of_a_process():
    with sandbox.child(lambda: None) as pid:
        caller = process.caller(pid)
    assert caller.groups == {os.getegid(), *os.getgroups()}
    assert caller.filters == ()
    assert caller.cap_net_raw is (CAP_NET_RAW in privileges.effective())
    assert caller.cgroup is None or caller.cgroup.startswith("/")
    assert caller.name == f"process {pid} ({caller.comm})"


def test_a_sandboxed_inetprobe_cannot_read_and_says_so():
    reads = "import os, sys; from inetprobe.kernel.host import installed_filters; from tests.support import sandbox; "
    reads += "sandbox.install((sandbox.ALLOW,)); installed_filters.filters_of(int(sys.argv[1]))"
    with sandbox.child(lambda: sandbox.install(FIRST)) as pid:
        argv = [sys.executable, "-c", reads, str(pid)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"filters of process {pid} cannot be read: that takes CAP_SYS_ADMIN, and no filter of" in done.stderr


@pytest.mark.parametrize(("flags", "holds"), [(0, True), (_NEWUSER, False), (_NEWUSER | _NEWNET, True)])
def test_a_capability_counts_over_the_net_namespace_s_owner(flags, holds):
    with sandbox.child(lambda: unshare(flags)) as pid:
        assert process.caller(pid).cap_net_raw is holds


def test_a_capability_that_was_given_up_is_none():
    def act():
        os.setresuid(65534, 65534, 65534)

    with sandbox.child(act) as pid:
        assert not process.caller(pid).cap_net_raw


def test_no_such_process_is_one_sentence():
    for ask in (process.caller, installed_filters.filters_of):
        with pytest.raises(UsageError, match=r"^--pid 4194304: there is no such process$"):
            ask(4194304)


def test_strict_mode_is_one_sentence(tmp_path):
    folder = tmp_path / "12"
    folder.mkdir()
    (folder / "status").write_text("Name:\tx\nGid:\t0\t0\t0\t0\nGroups:\t\nCapEff:\t0000000000000000\nSeccomp:\t1\n")
    (folder / "comm").write_text("x\n")
    (folder / "cgroup").write_text("1:cpu:/\n")
    with pytest.raises(HostError, match="process 12 is in seccomp's strict mode: any"):
        process.caller(12, tmp_path)


def test_a_process_that_is_traced_already_is_one_sentence():
    with sandbox.child(lambda: sandbox.install(FIRST)) as pid:
        tracer = subprocess.Popen(["strace", "-f", "-p", str(pid)], stderr=subprocess.PIPE)
        try:
            assert b"attached" in tracer.stderr.readline()
            with pytest.raises(
                HostError, match=f"the seccomp filters of process {pid} cannot be read: it is being traced"
            ):
                process.caller(pid)
        finally:
            tracer.terminate()
            tracer.wait(10)
            tracer.stderr.close()
            time.sleep(0.05)


def test_a_thread_that_cannot_be_stopped_is_not_waited_for_ever(monkeypatch):
    monkeypatch.setattr(installed_filters, "LIMIT_S", 0.1)
    monkeypatch.setattr(installed_filters.os, "waitpid", lambda pid, options: (0, 0))
    with sandbox.child(lambda: None) as pid:
        started = time.monotonic()
        with pytest.raises(HostError, match=f"process {pid} sleeps in the kernel and cannot be stopped: try again"):
            installed_filters.filters_of(pid)
        assert time.monotonic() - started < 5
        monkeypatch.undo()
