"""The replay source: a recording, read without trusting it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inetprobe.columns import from_arrow
from inetprobe.errors import RecordingError
from inetprobe.record import SLOTS, SLOTS_ALSO, Batch, Loss, Records, incomplete_reason
from inetprobe.run import Accounting, Run


class ReplaySource:
    """The batches of one recording. Everything before a damage is yielded, then RecordingError is raised."""

    def __init__(self, path: Path) -> None:
        """Reads the metadata. Raises RecordingError for a file that is empty, foreign, damaged or too new."""
        self._path = path
        try:
            self._file = pa.OSFile(str(path), "rb")
        except OSError as error:
            reason = error.strerror or str(error)
            raise RecordingError(f"{path} cannot be read: {reason}") from None
        if not self._file.size():
            raise RecordingError(f"{path} is empty: nothing was recorded in it")
        try:
            self._stream = pa.ipc.open_stream(self._file)
            facts = json.loads(self._stream.schema.metadata[b"inetprobe"])
            self.run = _run(facts)
        except (pa.ArrowException, OSError, TypeError, KeyError, ValueError) as error:
            raise RecordingError(f"{path} is not a recording of inetprobe: {_first(error)}") from None
        if not str(facts.get("format", "")).startswith("1."):
            raise RecordingError(
                f"{path} has format {facts.get('format')}, and this inetprobe reads 1.x: use a newer one"
            )
        self._recorded: Accounting | None = None
        self._stopping = False
        self._seen: dict[str | None, int] = {None: 0}
        self._lost: dict[str, int] = {}

    def batches(self) -> Iterator[Batch]:
        """Every batch, in order. Raises RecordingError where the recording is cut short or damaged."""
        while self._recorded is None and not self._stopping:
            try:
                arrow, metadata = self._stream.read_next_batch_with_custom_metadata()
                arrow.validate(full=True)
                records = from_arrow(arrow, self.run)
                losses = self._metadata(metadata)
            except StopIteration:
                raise self._cut_short() from None
            except RecordingError as error:
                raise RecordingError(f"{self._path} is damaged after {self._count():,} sockets: {error}") from None
            except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
                if "Expected" in str(error) or isinstance(error, (OSError, EOFError)):
                    raise self._cut_short() from None
                raise RecordingError(
                    f"{self._path} is damaged after {self._count():,} sockets: {_first(error)}"
                ) from None
            self._tally(records, losses)
            yield Batch(records, losses)

    def stop(self) -> None:
        """Asks ``batches`` to end before the next one."""
        self._stopping = True

    def accounting(self) -> Accounting:
        """What the live run counted, as far as the recording has it."""
        if self._recorded is not None:
            return self._recorded
        incomplete = {reason: n for reason, n in self._seen.items() if reason is not None}
        total = self._count() + sum(self._lost.values())
        return Accounting(entries=total, complete=self._seen[None], incomplete=incomplete, lost=self._lost)

    def _metadata(self, metadata: Any) -> tuple[Loss, ...]:
        if metadata is None:
            return ()
        if "accounting" in metadata:
            self._recorded = Accounting.from_dict(json.loads(metadata["accounting"]))
        return tuple(Loss(str(reason), int(count)) for reason, count in json.loads(metadata.get("losses", "[]")))

    def _tally(self, records: Records, losses: tuple[Loss, ...]) -> None:
        values, counts = np.unique(records["flags"], return_counts=True)
        for flags, count in zip(values.tolist(), counts.tolist(), strict=True):
            reason = incomplete_reason(flags)
            self._seen[reason] = self._seen.get(reason, 0) + count
        for loss in losses:
            self._lost[loss.reason] = self._lost.get(loss.reason, 0) + loss.count

    def _count(self) -> int:
        return sum(self._seen.values())

    def _cut_short(self) -> RecordingError:
        return RecordingError(
            f"{self._path} is cut short after {self._count():,} sockets: its last second and its accounting are missing"
        )


def _run(facts: Any) -> Run:
    return Run(
        kernel=str(facts["kernel"]),
        clock_offset_ns=int(facts["clock_offset_ns"]),
        host=facts.get("host"),
        machine_id=facts.get("machine_id"),
        architecture=str(facts.get("architecture", "")),
        mechanism=str(facts.get("mechanism", "")),
        filters=tuple(map(str, facts.get("filters", ()))),
        slots=_slots(facts.get("slots", SLOTS)),
        functions={int(number): str(name) for number, name in facts["functions"].items()},
    )


def _slots(number: object) -> int:
    if number not in (SLOTS, SLOTS_ALSO):
        raise ValueError(f"it says that a trace has up to {number} calls")
    return int(str(number))


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
