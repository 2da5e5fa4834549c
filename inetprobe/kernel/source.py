"""The live source: the records of this machine's kernel.

Batches arrive a tenth of a second apart, or sooner when the ring fills. The source ends on ``stop``, when its duration
is over, or when COMMAND ends: then no new trace begins, those in flight get a moment to end, and the ring is emptied
once more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from inetprobe.kernel.attached import POLL_S, Attached
from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.kernel.traced_command import Command
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.run import Run


class LiveSource:
    """Traces of the running kernel. Not thread-safe, but ``stop`` may be called from a signal handler."""

    def __init__(self, attached: Attached, command: Command | None = None, duration_s: float | None = None) -> None:
        """``attached`` is this source's to close."""
        self.attached = attached
        self._command = command
        self._duration_s = duration_s
        self._stopping = False
        #: Has anything been traced, or could it have been?
        self.began = False
        self._probes: dict[str, ProbeCount] = {}

    @classmethod
    def of_kernel(
        cls, options: TraceOptions, command: Command | None, say: Say, check_stop: CheckStop = never_stop
    ) -> LiveSource:
        """Compiles, loads and attaches; nothing is traced yet. Raises what ``Attached.to_kernel`` raises."""
        pid = None if command is None else command.pid
        return cls(Attached.to_kernel(options, say, check_stop, command_pid=pid), command, options.duration_s)

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run(self) -> Run:
        """The facts of the run; its ``stacks`` grow with the batches, ``cgroups`` has those of the last one."""
        return self.attached.run

    @property
    def stopping(self) -> bool:
        """Has ``stop`` been called?"""
        return self._stopping

    def start(self) -> None:
        """From now on creations are traced; COMMAND still waits."""
        self.attached.program.activate()
        self.began = self._command is None

    def stop(self) -> None:
        """Asks ``batches`` to end soon; before it has begun, to leave COMMAND where it waits."""
        self._stopping = True
        self.attached.program.ring.wake()

    def batches(self) -> Iterator[Batch]:
        """Batches as they come, an empty one when no record did; blocks up to a tenth of a second for each.

        COMMAND is let go first. To be called once, after ``start``. Raises CommandError if it cannot be run.
        """
        attached, program = self.attached, self.attached.program
        deadline = None if self._duration_s is None else time.monotonic() + self._duration_s
        if self._command is not None and not self._stopping:
            self._command.release()
            self.began = True
        while not self._over(deadline):
            yield attached.next(POLL_S)
        program.deactivate()
        yield from attached.let_traces_end()
        self._probes = program.probe_counts()
        program.detach()
        yield from attached.rest()

    def accounting(self) -> Accounting:
        """Where every entry went; complete once ``batches`` has ended."""
        return self.attached.accounting(self._probes)

    def close(self) -> None:
        """Detaches the probes and frees everything; to be called once."""
        self.attached.close()

    def _over(self, deadline: float | None) -> bool:
        ended = self._command is not None and self._command.poll() is not None
        return self._stopping or ended or (deadline is not None and time.monotonic() >= deadline)
