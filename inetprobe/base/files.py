"""Files that appear only when they are complete, and errors for files that cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from inetprobe.base.errors import InetprobeError


class WholeFile:
    """A file that is written under a temporary name beside ``path`` and renamed by ``finish``.

    ``-`` is stdout; it and paths that are not regular files (a pipe, ``/dev/null``) are written directly. Raises
    InetprobeError if it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._name = path
        self._final: Path | None = None
        self._temporary: Path | None = None
        with self.writing():
            self.file = self._open()

    def _open(self) -> BinaryIO:
        if self._name == "-":
            return sys.stdout.buffer
        path = Path(self._name)
        if path.exists() and not path.is_file():
            return path.open("wb")
        path = path.resolve()  # of a symbolic link, the target is replaced
        # An existing file keeps its permissions, but is set to no other user's id: it becomes ours. A new one gets them
        # from the umask.
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        number, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
        self._temporary, self._final = Path(temporary), path
        os.fchmod(number, mode)
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
                cannot_write_stdout(error) if self._name == "-" else cannot_write("export", self._name, error)
            ) from None


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
        """Creates or truncates ``path``; a new file is its owner's alone, as perf's is: it names processes and cgroups.
        Raises InetprobeError."""
        try:
            return cls(path, FileIO(path, "wb", opener=_for_its_owner))
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
