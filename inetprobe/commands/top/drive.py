"""Runs the source in its own thread, so that it never waits for the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from inetprobe.base.errors import RecordingError
from inetprobe.commands.top.collect import Collector
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.trace.pump import pump


class Background:
    """Runs ``work`` in a thread."""

    def __init__(self, work: Callable[[], Accounting]) -> None:
        self._work = work
        self._accounting: Accounting | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        """Starts the thread; call it once, before ``ended`` and ``result``."""
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Has it ended with an error?"""
        return self._error is not None

    def ended(self, timeout_s: float | None) -> bool:
        """Has the thread ended? Waits for it at most ``timeout_s``; None waits without a limit."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def result(self) -> Accounting:
        """Waits for the thread. Raises the error that ``work`` raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._accounting is not None
        return self._accounting

    def _run(self) -> None:
        try:
            self._accounting = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again by result()
            self._error = error


class Replays:
    """Reads a recording into a collector, again from its start whenever the filter changes."""

    def __init__(self, path: Path, filters: Filters, collector: Collector) -> None:
        """Reads the metadata. Raises RecordingError."""
        self._path, self._filters, self._collector = path, filters, collector
        self._changed = threading.Condition()
        self._again = self._quit = False
        self._source = RecordingReader(path)

    @property
    def kernel(self) -> str:
        """The kernel of the recording."""
        return self._source.run.kernel

    def restart(self, filters: Filters) -> None:
        """See Collector; from any thread."""
        with self._changed:
            self._collector.restart(filters)
            self._again = True
            self._source.stop()
            self._changed.notify()

    def quit(self) -> None:
        """Asks ``run`` to end soon; from any thread."""
        with self._changed:
            self._quit = True
            self._source.stop()
            self._changed.notify()

    def run(self) -> Accounting:
        """Runs until ``quit``. Then raises RecordingError if the recording is damaged; the part before is shown."""
        while True:
            damage, accounting = self._once()
            with self._changed:
                self._changed.wait_for(lambda: self._again or self._quit)
                if not self._quit:
                    self._again = False
                    self._collector.again()
                    self._source = RecordingReader(self._path)
                    continue
            if damage is not None:
                raise damage
            return accounting

    def _once(self) -> tuple[RecordingError | None, Accounting]:
        try:
            return None, pump(self._source, self._filters, [self._collector])
        except RecordingError as error:
            self._collector.failed(str(error))
            return error, self._source.accounting()
