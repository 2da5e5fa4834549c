"""The messages between host and guest, and their virtio-serial ports.

The control port carries one JSON object per line. Host to guest: first a ``Job``, then ``{"signal": N}`` any number of
times; closing the port ends the VM. Guest to host: ``{"booted": RELEASE}``, then
``{"exit": STATUS, "stdout": BYTES, "stderr": BYTES}``. The byte counts let the host wait for output that is still on
its way, so that none is lost when the reader is slow. The host reads them with ``vm/guest_messages.py``.

The compiler port, whose device COMPILER_VARIABLE names to the command, carries a line a task from guest to host, and a
line an answer back: see kernel/program/vm_compiler.py.

Standard library only, and no other module of inetprobe: the guest's agent imports it before anything else works.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

CONTROL = "inetprobe.control"
STDIN = "inetprobe.stdin"
STDOUT = "inetprobe.stdout"
STDERR = "inetprobe.stderr"
COMPILER = "inetprobe.compiler"
PORTS = (CONTROL, STDIN, STDOUT, STDERR, COMPILER)

COMPILER_VARIABLE = "INETPROBE_VM_COMPILER"

FOLDER_TAG = "inetprobe.folder"
"""The 9p mount tag of the folder that is read-write in the guest."""
SYSTEM_TAG = "inetprobe.system"
"""The 9p mount tag of the host's root file system, read-only."""


class Job(NamedTuple):
    """One command for the guest. Strings may carry surrogate escapes: arguments are bytes, not text.

    ``terminals``: those of stdout and stderr that are terminals on the host, and so in the guest. ``window``: their
    rows and columns. (A dataclass would take a third of a second to import in the guest.)
    """

    argv: list[str]
    folder: str
    environment: dict[str, str]
    terminals: list[str]
    window: tuple[int, int]

    def to_line(self) -> bytes:
        """The job as a line of the control port."""
        return line(self._asdict())

    @classmethod
    def from_line(cls, raw: bytes) -> Job:
        """The inverse of ``to_line``."""
        fields = json.loads(raw)
        fields["window"] = tuple(fields["window"])
        return cls(**fields)


def line(message: dict[str, Any]) -> bytes:
    """``message`` as one line of ASCII; lone surrogates are preserved."""
    return json.dumps(message).encode("ascii") + b"\n"


def messages(buffer: bytearray) -> list[dict[str, Any]]:
    """The complete messages at the start of ``buffer``; they are removed from it."""
    *lines, rest = bytes(buffer).split(b"\n")
    buffer[:] = rest
    return [json.loads(raw) for raw in lines if raw]
