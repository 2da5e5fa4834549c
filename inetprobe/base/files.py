"""Output files, and errors for those that cannot be written.

A new file takes the place of what has the output's name, and gets nothing of another user's: neither a file that they
can read, nor one that a link of theirs leads to. Written to as they are: pipes and devices; a link that nobody but this
user or root can have made, such as /dev/stdout; and a file in a folder where this user can create none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from inetprobe.base.errors import InetprobeError
from inetprobe.base.trust import distrust, is_own


class WholeFile:
    """A file that is written under a temporary name beside ``path`` and renamed by ``finish``.

    ``-`` is stdout; it and what is not replaced (see the module) is written directly. ``noun`` says in errors what the
    file holds. Raises InetprobeError if it cannot be written.
    """

    def __init__(self, noun: str, path: str) -> None:
        self._noun = noun
        self._name = path
        self._final: Path | None = None
        self._temporary: Path | None = None
        with self.writing():
            self.file = self._open()

    def _open(self) -> BinaryIO:
        if self._name == "-":
            return sys.stdout.buffer
        path = Path(self._name)
        flags = _flags_as_it_is(path)
        if flags is not None:
            return os.fdopen(os.open(path, flags, 0o666), "wb")
        number, self._temporary = _beside(path, 0o666 & ~_umask())
        self._final = path
        return os.fdopen(number, "wb", buffering=1 << 20)

    def finish(self) -> None:
        """Completes the output and gives it its name."""
        with self.writing():
            self.file.flush()
            if self._name != "-":
                self.file.close()
            if self._temporary is not None and self._final is not None:
                self._temporary.replace(self._final)
                self._temporary = None

    def discard(self) -> None:
        """Removes the temporary file; does nothing after ``finish``."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):  # such as a full disk: the file is removed in any case
                self.file.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns any OSError of the block but BrokenPipeError into InetprobeError."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise (
                cannot_write_stdout(error) if self._name == "-" else cannot_write(self._noun, self._name, error)
            ) from None


def write_whole(noun: str, path: str, text: str) -> None:
    """Writes a WholeFile of this text, in UTF-8. Raises InetprobeError."""
    output = WholeFile(noun, path)
    try:
        with output.writing():
            output.file.write(text.encode())
        output.finish()
    finally:
        output.discard()


def _flags_as_it_is(path: Path) -> int | None:
    """How to open what is at ``path``; None where a new file is to take its place. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return flags if is_own(status) and distrust(path.parent) is None else None
    if stat.S_ISREG(status.st_mode) and os.access(path.parent, os.W_OK):
        return None
    return flags | os.O_NOFOLLOW


def _beside(path: Path, mode: int) -> tuple[int, Path]:
    """A new file in the folder of ``path``: its descriptor and path. It has the permissions of the file at ``path``, if
    that is this user's, else ``mode``, and never a setuid bit. Raises OSError."""
    number, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            mode = status.st_mode & 0o777
    os.fchmod(number, mode)
    return number, Path(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass(frozen=True, slots=True)
class OutputFile:
    """The open file of a recording: opened before privileges are dropped, and long before Arrow is imported."""

    path: Path
    file: FileIO

    @classmethod
    def create(cls, path: Path) -> OutputFile:
        """Creates ``path``, which grows from now on; a new file is its owner's alone, as perf's is: it names processes
        and cgroups. Raises InetprobeError."""
        try:
            flags = _flags_as_it_is(path)
            if flags is not None:
                return cls(path, FileIO(os.open(path, flags, 0o600), "wb"))
            number, temporary = _beside(path, 0o600)
            file = FileIO(number, "wb")
            try:
                temporary.replace(path)
            except OSError:
                file.close()
                temporary.unlink()
                raise
            return cls(path, file)
        except OSError as error:
            raise cannot_write("recording", path, error) from None


def cannot_write(noun: str, path: Path | str, error: OSError) -> InetprobeError:
    """The error for a file that cannot be written; ``noun`` says what it holds, such as ``recording``."""
    return InetprobeError(
        f"the {noun} {path} cannot be written: {error.strerror or error}: name another file or make room"
    )


def cannot_write_stdout(error: OSError) -> InetprobeError:
    """The same for stdout."""
    return InetprobeError(f"stdout cannot be written: {error.strerror or error}: make room, or write it elsewhere")


def same_file(path: Path | str, *others: Path | str) -> bool:
    """Does ``path`` lead to the same existing file as one of ``others``?"""
    path = Path(path)
    return path.exists() and any(other.exists() and path.samefile(other) for other in map(Path, others))
