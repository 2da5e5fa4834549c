"""The source in a thread of its own, so that it never waits for the screen."""

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
    """Work in a thread, from ``start`` on."""

    def __init__(self, work: Callable[[], Accounting]) -> None:
        self._work = work
        self._accounting: Accounting | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        """To be called once, before what waits for its end."""
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Has it ended with an error?"""
        return self._error is not None

    def ended(self, timeout_s: float | None) -> bool:
        """Is it over, after waiting so long for that at most? None waits for it."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def result(self) -> Accounting:
        """Waits for its end. Raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._accounting is not None
        return self._accounting

    def _run(self) -> None:
        try:
            self._accounting = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            self._error = error


class Replays:
    """A recording into a collector, again from its start whenever the filter changes."""

    def __init__(self, path: Path, filters: Filters, collector: Collector) -> None:
        """Reads the metadata. Raises RecordingError."""
        self._path, self._filters, self._collector = path, filters, collector
        self._changed = threading.Condition()
        self._again = self._quit = False
        self._source = RecordingReader(path)

    @property
    def kernel(self) -> str:
        """The recording's."""
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
        """Until ``quit``. Raises RecordingError then, if the recording is damaged: what came before is shown."""
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
