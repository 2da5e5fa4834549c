"""A recording as a source of batches, read without trusting it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from inetprobe.base.errors import RecordingError
from inetprobe.base.text import file_name
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow import metadata
from inetprobe.record.arrow.columns import check, from_arrow
from inetprobe.record.arrow.guard import Messages
from inetprobe.record.batch import Batch, Loss, joined
from inetprobe.record.layout import Records, reasons

# Records are far larger in memory than in a crafted file, so a batch of any size becomes several of these.
_ROWS = 16384
_SMALL = 256
# The first bytes of every message of an Arrow stream since 2019.
_BEGINNING = b"\xff\xff\xff\xff"
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError)


class RecordingReader:
    """The batches of one recording. Those before a damage are yielded, then RecordingError is raised."""

    def __init__(self, path: Path, on_read: Callable[[int], None] | None = None) -> None:
        """Reads the metadata. ``on_read`` is called with the number of bytes read, after each batch.

        Raises RecordingError for a file that is empty, foreign, damaged or too new.
        """
        self._name = name = file_name(path)
        self._on_read = on_read
        self._read = 0
        # Arrow's own pools return memory between two batches, and pay for each page again.
        pa.set_memory_pool(pa.system_memory_pool())
        try:
            self._file = pa.OSFile(os.fsencode(path), "rb")
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)  # Arrow's own text repeats the path
            raise RecordingError(f"{name} cannot be read: {reason}") from None
        if not self._file.size():
            raise RecordingError(f"{name} is empty: nothing was recorded in it, so record again")
        beginning = self._file.read(len(_BEGINNING))
        self._file.seek(0)
        if beginning != _BEGINNING:
            raise _foreign(name, "it does not begin as an Arrow stream does")
        try:
            self._messages = Messages(self._file)
            self._stream = pa.ipc.open_stream(self._messages)
            raw = (self._stream.schema.metadata or {}).get(metadata.KEY.encode())
            if raw is None:
                raise RecordingError("it is an Arrow stream of something else")
            version, facts = metadata.facts_of(raw)
            if version.startswith("1."):
                self.run = metadata.run_of(facts)
                self._offset_ns = self.run.clock_offset_ns
        except (RecordingError, *_DAMAGE) as error:
            raise _foreign(name, _first(error)) from None
        if not version.startswith("1."):
            raise RecordingError(f"{name} has format {version}, and this inetprobe reads 1.x: use a newer one")
        self._recorded: Accounting | None = None
        self._stopping = False
        self._seen: Counter[str | None] = Counter()
        self._lost: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        """Every batch, in order, small ones joined: a recording has one a second, and each costs its readers as much as
        thousands of sockets. ``run.clock_offset_ns`` is that of the last one. Raises RecordingError where the recording
        is cut short or damaged."""
        parts, small, rows = self._each(), list[Records](), 0
        losses: tuple[Loss, ...] = ()  # before the first of the small ones
        damage = None
        while not self._stopping:
            try:
                part = next(parts, None)
            except RecordingError as error:
                part, damage = None, error
            clock_set = self._offset_ns != self.run.clock_offset_ns
            if small and (part is None or part.losses or clock_set or len(part) > _SMALL or rows >= _ROWS):
                yield Batch(joined(small), losses)
                small, rows = [], 0
            self.run.clock_offset_ns = self._offset_ns
            if part is None:
                break
            if len(part) > _SMALL:
                yield part
                continue
            losses = losses if small else part.losses
            small.append(part.records)
            rows += len(part)
        if damage is not None:
            raise damage

    def _each(self) -> Iterator[Batch]:
        """Every batch as it was written, or a part of it."""
        while self._recorded is None and not self._stopping:
            try:
                arrow, custom = self._stream.read_next_batch_with_custom_metadata()
                check(arrow, self._messages.body, sock=self.run.sock, stack=self.run.stack)
                losses, accounting = metadata.losses_of(custom or {}), metadata.accounting_of(custom or {})
                self._offset_ns = metadata.clock_of(custom or {}, self._offset_ns)
            except StopIteration:
                raise self._cut_short() from None
            except (RecordingError, *_DAMAGE) as error:
                raise self._damaged(error) from None
            for start in range(0, max(arrow.num_rows, 1), _ROWS):
                try:
                    batch = from_arrow(arrow.slice(start, _ROWS), self.run, () if start else losses)
                except (RecordingError, *_DAMAGE) as error:
                    raise self._damaged(error) from None
                self._tally(batch)
                yield batch
                if self._stopping:
                    return
            self._recorded = accounting
            self._tell_read()

    def stop(self) -> None:
        """Asks ``batches`` to end before the next batch."""
        self._stopping = True

    def accounting(self) -> Accounting:
        """What the live run counted; of a recording that was not read to its end, what was read."""
        if self._recorded is not None:
            return self._recorded
        incomplete = {reason: n for reason, n in self._seen.items() if reason is not None}
        total = self._seen.total() + self._lost.total()
        return Accounting(entries=total, complete=self._seen[None], incomplete=incomplete, lost=dict(self._lost))

    def _tell_read(self) -> None:
        read = self._file.tell()
        if self._on_read is not None:
            self._on_read(read - self._read)
        self._read = read

    def _tally(self, batch: Batch) -> None:
        self._seen.update(reasons(batch.column("flags")))
        for loss in batch.losses:
            self._lost[loss.reason] += loss.count

    def _damaged(self, error: BaseException) -> RecordingError:
        if self._messages.short:
            return self._cut_short()
        return RecordingError(
            f"{self._name} is damaged after {self._seen.total():,} sockets: {_first(error)}: "
            "copy it again, or record again"
        )

    def _cut_short(self) -> RecordingError:
        return RecordingError(
            f"{self._name} is cut short after {self._seen.total():,} sockets: its last second and its "
            "accounting are missing; copy it again, or record again"
        )


def _foreign(name: str, why: str) -> RecordingError:
    return RecordingError(f"{name} is not a recording of inetprobe: {why}: give a file that inetprobe record wrote")


def _first(error: BaseException) -> str:
    """The start of an error's first line: the text may quote the recording at any length."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
