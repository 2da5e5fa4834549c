"""All deliberate errors of inetprobe, and the exit status with which each ends a command.

::

    InetprobeError            125  inetprobe itself failed (the base class: raised only if no subclass fits)
    ├── UsageError              2  the command line or a file's option is wrong
    ├── HostError               3  this machine cannot be traced
    ├── RecordingError          4  a recording is empty, damaged, lossy or of another format
    ├── VmError               125  the throwaway VM could not be prepared or died
    └── CommandError      126/127  COMMAND cannot be run / was not found

The message of each is one sentence for a user: what is wrong, where, and what to do.
"""

from __future__ import annotations

import errno

#: Errnos of a write to a full disk, quota or file size limit.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_HOST = 3
EXIT_RECORDING = 4
EXIT_FAILED = 125
EXIT_CANNOT_RUN = 126
EXIT_NOT_FOUND = 127
EXIT_INTERRUPTED = 130


class InetprobeError(Exception):
    """Base of every deliberate error; ``exit_code`` is the process's exit status."""

    exit_code: int = EXIT_FAILED


class UsageError(InetprobeError):
    """A command line, a filter or an option in a file is wrong."""

    exit_code = EXIT_USAGE


class HostError(InetprobeError):
    """This machine cannot be traced: ``finding`` says why, and ``fix`` what to do; the message is both."""

    exit_code = EXIT_HOST

    def __init__(self, finding: str, fix: str = "") -> None:
        super().__init__(f"{finding}: {fix}" if fix else finding)
        self.finding = finding
        self.fix = fix


class RecordingError(InetprobeError):
    """A recording is empty, damaged, lossy or of another format."""

    exit_code = EXIT_RECORDING


class VmError(InetprobeError):
    """The throwaway VM could not be prepared, did not boot, or died."""


class CommandError(InetprobeError):
    """COMMAND was not found (127) or cannot be run (126)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
