"""A Perfetto trace: a track per thread, a slice per call; the outermost slice has the socket's facts as arguments.

Times are CLOCK_BOOTTIME, Perfetto's own clock, so that the trace lines up with others of the same boot. Calls of a
softirq are on a track of its CPU, since the interrupted thread has nothing to do with them.
"""

from __future__ import annotations

from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from inetprobe.base.cgroup_owner import owner_of
from inetprobe.base.errors import RecordingError
from inetprobe.base.files import WholeFile
from inetprobe.base.uapi import FAMILIES, TYPES, protocols_of
from inetprobe.commands.export.formats import ExportOptions
from inetprobe.commands.export.packets import BEGIN, END, INSTANT, Arguments, Packets
from inetprobe.record.accounting import Accounting
from inetprobe.record.layout import Records
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import Call, CallTrace, call_traces
from inetprobe.trace.verdict import judge

_FIRST_TRACK = 0x696E6574 << 32


class PerfettoExport:
    """A sink that writes the slices of a run."""

    def __init__(self, output: WholeFile, run: Run) -> None:
        self._output = output
        self._packets = Packets(output.file)
        self._tracks: dict[tuple[str, int, int], int] = {}
        self._last: int | None = None
        self._run = run

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Writes the slices of a batch."""
        _check_times(batch.records)
        with self._output.writing():
            if self._last is None and (len(batch) or batch.losses):
                self._begin(int(batch.records["start_ns"][0]) if len(batch) else 0)
            for loss in batch.losses:
                self._remark(f"lost: {loss.reason}", (("count", loss.count),))
            for trace in call_traces(batch, run):
                self._trace(trace)

    def summary(self, accounting: Accounting) -> None:
        """Writes the accounting, and puts the output into place."""
        with self._output.writing():
            if self._last is None:
                self._begin(0)
            self._remark("summary", tuple(_flat("", accounting.to_dict())))
        self._output.finish()

    def cut_short(self, accounting: Accounting, problem: str) -> None:
        """Writes the problem as a remark, then what ``summary`` writes."""
        with self._output.writing():
            if self._last is None:
                self._begin(0)
            self._remark("the recording is not complete", (("problem", problem),))
        self.summary(accounting)

    def discard(self) -> None:
        """Leaves nothing of the output."""
        self._output.discard()

    def _begin(self, now: int) -> None:
        """Writes the packets about the whole trace, at the time of the first event."""
        self._last = now
        run = self._run
        clocks = [pb.ClockSnapshot.Clock(clock_id=pb.BUILTIN_CLOCK_BOOTTIME, timestamp=now)]
        if 0 < now + run.clock_offset_ns < 1 << 63:
            wall = now + run.clock_offset_ns
            clocks.append(pb.ClockSnapshot.Clock(clock_id=pb.BUILTIN_CLOCK_REALTIME, timestamp=wall))
        self._packets.packet(
            clock_snapshot=pb.ClockSnapshot(clocks=clocks, primary_trace_clock=pb.BUILTIN_CLOCK_BOOTTIME)
        )
        name = pb.Utsname(sysname="Linux", release=run.kernel, machine=run.architecture)
        self._packets.packet(system_info=pb.SystemInfo(utsname=name, machine_name=run.host or ""))

    def _trace(self, trace: CallTrace) -> None:
        track = self._track_of(trace)
        ends = _ends(trace.calls)
        still_open: list[int] = []
        for call, end in zip(trace.calls, ends, strict=True):
            self._close(track, trace.start_ns, still_open, call.depth)
            still_open.append(end)
            outermost = call.depth == 0
            arguments = _of_call(call) + (_of_socket(trace, self._run) if outermost else ())
            identity = trace.id if outermost else ""
            self._packets.event(trace.start_ns + call.start_ns, track, BEGIN, call.function, arguments, identity)
        self._close(track, trace.start_ns, still_open, 0)
        self._last = max(self._last or 0, trace.start_ns)

    def _close(self, track: int, start: int, still_open: list[int], depth: int) -> None:
        while len(still_open) > depth:
            self._packets.event(start + still_open.pop(), track, END)

    def _remark(self, name: str, arguments: Arguments) -> None:
        track = self._track("run", 0, 0, lambda uuid: pb.TrackDescriptor(uuid=uuid, name="inetprobe"))
        self._packets.event(self._last or 0, track, INSTANT, name, arguments)

    def _track_of(self, trace: CallTrace) -> int:
        if trace.softirq:
            name = f"softirq CPU {trace.cpu}"
            return self._track("softirq", trace.cpu, 0, lambda uuid: pb.TrackDescriptor(uuid=uuid, name=name))
        pid, tid = _as_int32(trace.pid), _as_int32(trace.tid)
        process = pb.ProcessDescriptor(pid=pid, process_name=trace.comm)
        self._track("process", pid, 0, lambda uuid: pb.TrackDescriptor(uuid=uuid, process=process))
        thread = pb.ThreadDescriptor(pid=pid, tid=tid, thread_name=trace.comm)
        return self._track("thread", pid, tid, lambda uuid: pb.TrackDescriptor(uuid=uuid, thread=thread))

    def _track(self, kind: str, number: int, thread: int, describe: Any) -> int:
        key = kind, number, thread
        if key not in self._tracks:
            uuid = _FIRST_TRACK + len(self._tracks)
            self._tracks[key] = uuid
            self._packets.packet(track_descriptor=describe(uuid))
        return self._tracks[key]


def _ends(calls: tuple[Call, ...]) -> list[int]:
    """The end of each call, from the start of the trace; an unseen end is that of the last call seen within it."""
    ends = [call.start_ns + (call.duration_ns or 0) for call in calls]
    for outer in range(len(calls) - 1, -1, -1):
        if calls[outer].duration_ns is None:
            for inner in range(outer + 1, len(calls)):
                if calls[inner].depth <= calls[outer].depth:
                    break
                ends[outer] = max(ends[outer], ends[inner])
    return ends


def _of_call(call: Call) -> Arguments:
    arguments = {"result": call.result, "pointer": call.pointer, "module": call.module}
    if call.duration_ns is None:
        arguments["return"] = "not seen"
    return tuple((name, value) for name, value in arguments.items() if value is not None)


def _of_socket(trace: CallTrace, run: Run) -> Arguments:
    verdict = judge(trace, run.profile)
    owner = owner_of(trace.cgroup)
    family, type_, protocol = trace.request
    arguments: dict[str, Any] = {
        "family": FAMILIES.get(family, family),
        "type": None if type_ is None else TYPES.get(type_, type_),
        "protocol": None if protocol is None else protocols_of(family).get(protocol, protocol),
        "prot": trace.prot,
        "outcome": trace.outcome,
        "errno": trace.errno,
        "verdict": verdict.verdict,
        "rule": verdict.rule,
        "reason": verdict.why.reason,
        **{f"evidence.{number}": clause for number, clause in enumerate(verdict.why.evidence, 1)},
        **{f"fix.{number}": fix.do for number, fix in enumerate(verdict.why.fix, 1)},
        "complete": trace.incomplete is None,
        "kernel_socket": trace.kernel_socket,
        "comm": trace.comm,
        "ppid": trace.ppid,
        "uid": trace.uid,
        "cgroup": trace.cgroup,
        "container": owner.container,
        "pod": owner.pod,
        "unit": owner.unit,
        "netns": trace.netns,
        "cpu": trace.cpu,
        **({} if trace.sock is None else {f"sock.{name}": value for name, value in trace.sock.known().items()}),
    }
    return tuple((name, value) for name, value in arguments.items() if value is not None)


def _flat(prefix: str, counts: dict[str, Any]) -> list[tuple[str, int]]:
    """Nested counts as arguments with dots in their names, which the UI shows as a tree."""
    flat: list[tuple[str, int]] = []
    for name, value in counts.items():
        flat += _flat(f"{prefix}{name}.", value) if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def _check_times(records: Records) -> None:
    if not len(records):
        return
    latest = int(records["start_ns"].max()) + int(records["calls"]["duration_ns"].max())
    if latest + int(records["calls"]["start_ns"].max()) >= 1 << 63:
        raise RecordingError("the recording has a time more than 292 years after boot, which Perfetto cannot represent")


def _as_int32(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def open_export(run: Run, options: ExportOptions) -> PerfettoExport:
    """See inetprobe.commands.export.formats."""
    return PerfettoExport(WholeFile("export", options.output), run)
