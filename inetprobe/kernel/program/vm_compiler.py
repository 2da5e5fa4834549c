"""In ``inetprobe vm`` the machine that runs the VM compiles the programs: under emulation the guest takes 13 s.

The root file system of both is the same, hence the compiler too. A process of the guest writes a task to the compiler
port and reads the answer, a line of JSON each. A task has the BPF sources' digest in their place, and no options but
-D: it cannot have other files read, or other code run, on the host. Where the sources differ, the guest compiles.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import time
from collections.abc import Sequence

from inetprobe.kernel.callbacks import Say
from inetprobe.kernel.program import code_cache, compiler_process
from inetprobe.kernel.program.compiler_process import Compiled
from inetprobe.record.cheader import bpf_folder
from inetprobe.vm.guest.protocol import COMPILER_VARIABLE

#: The longest that a task waits, for the port to be free and for its answer.
LIMIT_S = 60.0
_CHUNK = 1 << 16


def ask(text: str, defines: Sequence[str], say: Say) -> Compiled | None:
    """In the guest: what the host's compiler gives; None without such a host, and where ``say`` was told why not."""
    port = os.environ.get(COMPILER_VARIABLE)
    if not port:
        return None
    task = {"sources": _sources(), "text": text, "defines": list(defines)}
    try:
        answer = json.loads(_exchange(port, json.dumps(task).encode()))
    except OSError as error:
        say(f"the host of this VM does not compile ({error.strerror or error}): compiling here")
        return None
    if answer is None:
        say("the host of this VM refuses to compile, or has other BPF sources: compiling here")
        return None
    return Compiled(*answer)


def answer(task: bytes) -> bytes:
    """On the host: the task's digest, and the answer to it; null to what is no task for this host's sources."""
    compiled = None
    try:
        asked = json.loads(task)
        text, defines = asked["text"], asked["defines"]
        same = asked["sources"] == _sources() and isinstance(text, str) and _are_defines(defines)
    except (ValueError, TypeError, LookupError, RecursionError):
        same = False
    if same:
        with contextlib.suppress(OSError):  # no process can be started here: the guest tries
            compiled = compiler_process.run(text, defines)
    return _digest(task) + json.dumps(compiled).encode()


def _are_defines(defines: object) -> bool:
    return isinstance(defines, list) and all(isinstance(one, str) and one.startswith("-D") for one in defines)


def _sources() -> str:
    return code_cache.key(bpf_folder(), ())


def _digest(task: bytes) -> bytes:
    return hashlib.sha256(task).hexdigest().encode()


def _exchange(port: str, task: bytes) -> bytes:
    """The answer to ``task``. Raises OSError."""
    deadline = time.monotonic() + LIMIT_S
    descriptor = _open(port, deadline)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(task + b"\n")
        received, digest = b"", _digest(task)
        while select.select([descriptor], [], [], deadline - time.monotonic())[0]:
            *lines, received = (received + os.read(descriptor, _CHUNK)).split(b"\n")
            for line in lines:
                if line.startswith(digest):  # else to a process that was killed as it waited
                    return line.removeprefix(digest)
        raise TimeoutError(f"no answer for {LIMIT_S:g} s")
    finally:
        os.close(descriptor)


def _open(port: str, deadline: float) -> int:
    """The port, which one process can have at a time."""
    while True:
        try:
            return os.open(port, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
