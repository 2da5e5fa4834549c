"""Where batches come from: the running kernel, or a recording. One protocol, so that nothing after it can tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from inetprobe.record import Batch
from inetprobe.run import Accounting, Run


class Source(Protocol):
    """A source of batches of records, in the order they arrived."""

    @property
    def run(self) -> Run:
        """What is true of the whole run; its ``cgroups`` grow with the batches."""

    def batches(self) -> Iterator[Batch]:
        """Every batch; may block for the next one, and may yield empty ones."""

    def stop(self) -> None:
        """Asks ``batches`` to end soon."""

    def accounting(self) -> Accounting:
        """Where every socket went, once ``batches`` has ended."""
