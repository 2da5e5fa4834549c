"""Which descriptors a live process holds: of this one, and of folders made up."""

import os
import subprocess
import sys

from inetprobe.kernel.host import open_files, pidns
from inetprobe.kernel.host.open_files import held_by


def folder(tmp_path, *targets):
    fds = tmp_path / "7" / "fd"
    fds.mkdir(parents=True)
    for number, target in enumerate(targets):
        (fds / str(number)).symlink_to(target)
    return tmp_path


def test_the_kinds_are_counted_the_largest_first(monkeypatch, tmp_path):
    monkeypatch.setattr(pidns, "is_initial", lambda: True)
    targets = ["socket:[1]"] * 5 + ["pipe:[2]"] * 2 + ["anon_inode:[eventpoll]", "/dev/null", "/etc/passwd", "/etc/x"]
    assert held_by(7, folder(tmp_path, *targets)) == (
        "process 7 now holds 11 descriptors: socket 5, file 2, pipe 2, device 1, eventpoll 1"
    )


def test_more_than_five_kinds_and_a_hostile_one(monkeypatch, tmp_path):
    monkeypatch.setattr(pidns, "is_initial", lambda: True)
    targets = [
        "socket:[1]",
        "pipe:[2]",
        "anon_inode:[eventfd]",
        "anon_inode:inotify",
        "/dev/x",
        "/memfd:\x1b (deleted)",
    ]
    assert held_by(7, folder(tmp_path, *targets, "/y")).endswith(", others 2")


def test_a_process_with_very_many_is_read_in_part(monkeypatch, tmp_path):
    monkeypatch.setattr(pidns, "is_initial", lambda: True)
    monkeypatch.setattr(open_files, "_MOST_READ", 3)
    assert held_by(7, folder(tmp_path, *["socket:[1]"] * 9)) == (
        "process 7 now holds more than 3 descriptors: socket 4"
    )


def test_a_live_process_is_read(monkeypatch):
    monkeypatch.setattr(pidns, "is_initial", lambda: True)
    holder = [sys.executable, "-c", "import socket\nheld = socket.socketpair()\nprint(flush=True)\ninput()"]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        kinds = held_by(process.pid).partition(": ")[2]
        process.communicate(b"\n")
    assert "socket 2" in kinds


def test_what_cannot_be_seen_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(pidns, "is_initial", lambda: True)
    assert held_by(8, tmp_path) == "process 8 ended before its descriptors could be counted"
    assert held_by(7, folder(tmp_path)) == "process 7 now holds 0 descriptors"
    monkeypatch.setattr(pidns, "is_initial", lambda: False)
    assert held_by(7, tmp_path) == "the descriptors of process 7 cannot be seen from another pid namespace"


def test_another_user_s_process_takes_a_capability(monkeypatch):
    if os.geteuid():
        pid = 1
        monkeypatch.setattr(pidns, "is_initial", lambda: True)
        assert held_by(pid) == "the descriptors of process 1 may not be read without CAP_SYS_PTRACE"
        return
    program = (
        "import os; from inetprobe.kernel.host import pidns, open_files; pidns.is_initial = lambda: True; "
        "os.setuid(65534); print(open_files.held_by(1))"
    )
    done = subprocess.run([os.sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "the descriptors of process 1 may not be read without CAP_SYS_PTRACE\n"
