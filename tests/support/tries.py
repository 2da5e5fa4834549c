"""``python -m tests.support.tries FILE [--no-kernel] ARGV…``: inetprobe ARGV, which once it is confined tries things.

FILE gets a JSON object: for each attempt None where it succeeded, else the errno's name.
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


def attempts():
    parent, own = os.getppid(), Path(sys.argv[1]).parent
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


def _try_all():
    answers = {name: tried(attempt) for name, attempt in attempts().items()}
    os.write(told, json.dumps(answers).encode())


def _settle(kept, say):
    live.settle(kept, say)
    _try_all()


def _confine(kept):
    confinement.confine(kept)
    _try_all()


if __name__ == "__main__":
    told = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o600)
    argv = [word for word in sys.argv[2:] if word != "--no-kernel"]
    source = open_source(builders.every_kind) if "--no-kernel" in sys.argv else live.LiveHost().open_source
    live_counts.confine = _confine
    cli.main(argv, obj=live.LiveHost(source, _settle))
