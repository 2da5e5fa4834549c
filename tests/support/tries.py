"""``python -m tests.support.tries FILE ARGV…``: inetprobe ARGV over a source without a kernel, which tries things once
it is confined. FILE gets what came of it: see ``confining_and_trying``.
"""

import ctypes
import errno
import json
import os
import socket
import sys
from pathlib import Path

from inetprobe.cli import live
from inetprobe.cli.main import cli
from inetprobe.commands.serve import live_counts
from inetprobe.kernel.host import confinement, syscall
from tests.support import builders
from tests.support.attached import open_source

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_SEIZE = 0x4206


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def _bound(*address):
    with socket.socket() as it:
        it.bind(*address)


def _perf_event():
    result, error = syscall.call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0)
    if error:
        raise OSError(error, "")
    os.close(result)


def _exec():
    os.posix_spawn("/bin/true", ["true"], {})


def _read_memory():
    local, remote = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)
    _checked(_LIBC.process_vm_readv(os.getppid(), local, 1, remote, 1, 0))


def attempts(own):
    """Each attempt by name; ``own``: a folder of the test's, with the file ``removed``."""
    parent = os.getppid()
    return {
        "read /etc/shadow": Path("/etc/shadow").read_text,
        "write /etc/shadow": lambda: os.open("/etc/shadow", os.O_WRONLY),
        "chmod /etc/shadow": lambda: Path("/etc/shadow").chmod(0o640),
        "chown /etc/shadow": lambda: os.chown("/etc/shadow", 0, 42),
        "make a file": lambda: (own / "made").write_text(""),
        "remove a file": (own / "removed").unlink,
        "rename a file": lambda: (own / "removed").rename(own / "renamed"),
        "link a file": lambda: (own / "linked").symlink_to("/etc/shadow"),
        "an IPv4 socket": socket.socket,
        "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "bind a port": lambda: _bound(("127.0.0.1", 0)),
        "load a program": lambda: os.close(syscall.load_program(syscall.KPROBE, "x", syscall.RETURN_0)),
        "open a perf event": _perf_event,
        "ptrace": lambda: _checked(_LIBC.ptrace(_PTRACE_SEIZE, parent, None, None)),
        "read a process's memory": _read_memory,
        "read a process's environment": Path(f"/proc/{parent}/environ").read_bytes,
        "signal a process": lambda: os.kill(parent, 0),
        "execute a program": _exec,
        "a UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "signal itself": lambda: os.kill(os.getpid(), 0),
    }


def tried(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def confining_and_trying(path):
    """In the place of ``confine``: it writes to ``path`` a JSON object, for each attempt None where it succeeded, else
    the errno's name."""

    def confine(kept):
        with path.open("w") as told:
            confinement.confine(kept)
            json.dump({name: tried(attempt) for name, attempt in attempts(path.parent).items()}, told)

    return confine


if __name__ == "__main__":
    live.confine = live_counts.confine = confining_and_trying(Path(sys.argv[1]))
    cli.main(sys.argv[2:], obj=live.LiveHost(open_source(builders.every_kind)))
