"""COMMAND: forked, held until the probes are attached, then released.

The child is forked before anything heavy is imported and waits on a pipe; so all its sockets are seen, and its pid is
known before its first instruction.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import signal
from collections.abc import Sequence
from typing import NoReturn

from inetprobe.base.descriptors import close_others
from inetprobe.base.errors import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_NOT_FOUND, CommandError, UsageError

# The dispositions that Python and inetprobe change.
_CHANGED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)
_TERMINAL = ("TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "TZ")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_user(name: str) -> pwd.struct_passwd:
    """The account ``name``. Raises UsageError."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--user: there is no user {name!r} on this machine") from None


class Command:
    """One child process. Only ``poll`` and ``send`` are thread-safe."""

    def __init__(self, argv: Sequence[str], user: str | None = None, *, silent: bool = False) -> None:
        """Forks and holds the child; with ``silent`` its standard streams are /dev/null.

        Raises UsageError for an unknown user.
        """
        self._argv = list(argv)
        account = find_user(user) if user is not None else None
        self._status: int | None = None
        self.signalled = False  # has a signal for us been passed on?
        gate, self._gate = os.pipe()
        self._failure, failure = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            os.close(self._failure)
            _child(self._argv, account, gate, failure, silent=silent)
        self._pidfd = os.pidfd_open(self.pid)  # a confined process can signal no other
        os.close(gate)
        os.close(failure)

    @property
    def held(self) -> bool:
        """Does the child still wait to execute COMMAND?"""
        return self._gate >= 0

    def release(self) -> None:
        """Lets the child execute COMMAND. Raises CommandError (126 or 127) if that fails; blocks until it is known."""
        os.write(self._gate, b"!")
        os.close(self._gate)
        self._gate = -1
        with os.fdopen(self._failure, "rb") as failure:
            self._failure = -1
            error_number = failure.read()
        if error_number:
            self.wait()
            raise _cannot_run(self._argv[0], int(error_number))

    def poll(self) -> int | None:
        """The wait status once the child has ended, else None; never blocks. For any thread or signal handler."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return self._status  # another thread has reaped the child and is about to store its status
            if pid:
                self._status = status
        return self._status

    def wait(self) -> int:
        """Blocks until the child has ended; its wait status."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        return self._status

    def send(self, number: int) -> None:
        """Passes a signal on to the child, if it is still there."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Ends a child that is still held; COMMAND, if it runs, is left alone. To be called once."""
        for fd in (self._gate, self._failure, self._pidfd):
            if fd >= 0:
                os.close(fd)
        if self._gate >= 0:
            self.wait()
        self._gate = self._failure = -1


def end_like(status: int) -> int:
    """Ends this process the way COMMAND ended: returns its exit status, or dies of the same signal."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    # The core, if any, was COMMAND's to leave.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def _child(argv: list[str], account: pwd.struct_passwd | None, gate: int, failure: int, *, silent: bool) -> NoReturn:
    """Runs in the child; it must not return or raise."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # while COMMAND is held, Ctrl-C is inetprobe's alone
        if not os.read(gate, 1):
            os._exit(EXIT_FAILED)  # inetprobe gave up before it was ready
        if silent:
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
        environment = dict(os.environ)
        if account is not None:
            close_others(failure)  # root's may be open on what the user may not read
            _become(account)
            environment = _environment_of(account)
        for number in _CHANGED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(failure, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(EXIT_FAILED)


def _environment_of(account: pwd.struct_passwd) -> dict[str, str]:
    """Root's environment names its folders and may hold secrets: of it go along only words about the terminal."""
    words = {name: value for name, value in os.environ.items() if name in _TERMINAL or name.startswith("LC_")}
    return words | {
        "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": account.pw_shell,
        "PATH": _PATH,
    }  # fmt: skip


def _become(account: pwd.struct_passwd) -> None:
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _cannot_run(name: str, number: int) -> CommandError:
    if number == errno.ENOENT:
        return CommandError(f"{name}: not found: give a program on PATH or its path", EXIT_NOT_FOUND)
    return CommandError(f"{name}: cannot be run: {os.strerror(number)}", EXIT_CANNOT_RUN)
