"""The child process of a trial: what it reports, and each way in which it can end."""

import errno
import os
import signal
import time

import pytest

from inetprobe.kernel import trial
from inetprobe.kernel.host import syscall
from inetprobe.kernel.host.kprobe import Kprobe


def raises(error):
    def attempt(*_):
        raise error

    return attempt


@pytest.mark.parametrize(
    ("attempt", "failure"),
    [
        (lambda: None, None),
        (
            raises(syscall.ProgramRefused(errno.EACCES, "0: R1=ctx()\ninvalid access\nprocessed 1 insns\n")),
            "it is not loaded: invalid access",
        ),
        (raises(syscall.ProgramRefused(errno.EPERM, "")), "it is not loaded: Operation not permitted"),
        (raises(OSError(errno.EBUSY, "Device or resource busy")), "it is not attached: Device or resource busy"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process died of SIGKILL"),
    ],
)
def test_why_it_failed(attempt, failure):
    assert trial.failure_in_child(attempt) == failure


def test_another_error_is_shown_whole(capfd):
    assert trial.failure_in_child(raises(KeyError("of ours"))) == "the process ended with status 1"
    assert "KeyError: 'of ours'" in capfd.readouterr().err


def test_a_child_that_hangs_is_killed():
    began = time.monotonic()
    assert trial.failure_in_child(lambda: time.sleep(60), 0.2) == "it was not done after 0.2 s"
    assert time.monotonic() - began < 20


def test_ctrl_c_does_not_keep_the_child_from_detaching():
    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)

    assert trial.failure_in_child(interrupted) is None


@pytest.fixture
def opened(monkeypatch):
    """The descriptors of programs and attachments that a stand-in for the kernel has given."""
    fds = []

    def null(*_):
        fds.append(os.open(os.devnull, os.O_RDONLY))
        return fds[-1]

    monkeypatch.setattr(syscall, "load_program", null)
    monkeypatch.setattr(syscall, "attach", null)
    monkeypatch.setattr(Kprobe, "attach", lambda *given: Kprobe(null()))
    return fds


@pytest.mark.parametrize(
    ("attempt", "descriptors"),
    [
        (lambda: trial.kprobes(None, "inet_create"), 3),
        (lambda: trial.trampoline(syscall.FEXIT, 7), 2),
        (lambda: trial.tracepoint("sched_process_exit"), 2),
    ],
)
def test_nothing_stays_open(opened, attempt, descriptors):
    attempt()
    assert len(opened) == descriptors
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_program_that_cannot_be_attached_is_closed(opened, monkeypatch):
    monkeypatch.setattr(syscall, "attach", raises(OSError(errno.ENOENT, "No such file or directory")))
    assert trial.failure(lambda: trial.trampoline(syscall.FENTRY, 7)) == "it is not attached: No such file or directory"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
