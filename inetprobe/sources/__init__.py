"""Where records come from: live, a recording, the model. Three sources behind one protocol."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from inetprobe.record import Batch
from inetprobe.run import Accounting, Run


class Source(Protocol):
    """A run's records in batches, then where every socket of it went. Used as a context manager, which closes it."""

    #: The facts of the run; its ``cgroups`` grow while the batches come.
    run: Run
    #: Does a record whose calls do not nest count as lost (a kernel's), or is the input damaged (a recording's)?
    live: bool

    def batches(self) -> Iterator[Batch]:
        """Batches as they come, possibly empty ones. May block; raises the source's own InetprobeError."""

    def stop(self) -> None:
        """Asks ``batches`` to end soon. May be called from a signal handler, and more than once."""

    def accounting(self) -> Accounting:
        """Where every socket went. Only meaningful once ``batches`` has ended."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...
