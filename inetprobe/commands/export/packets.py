"""Perfetto's packets as a stream, with the strings of events interned, without which a trace is twice as large.

perfetto's builder writes the packets; interning is left to its caller.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

#: Arbitrary: the trace has only one writer.
_SEQUENCE = 0x696E6574
#: Strings and events, of which an event takes some 3 kB.
_MOST_KEPT = 1 << 14
_NAMES, _VALUES = "debug_annotation_names", "debug_annotation_string_values"

BEGIN = pb.TrackEvent.TYPE_SLICE_BEGIN
END = pb.TrackEvent.TYPE_SLICE_END
INSTANT = pb.TrackEvent.TYPE_INSTANT

Arguments = tuple[tuple[str, Any], ...]


class Packets:
    """Writes packets to ``file``, whose OSErrors pass through. Times are CLOCK_BOOTTIME in nanoseconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._builder = StreamingTraceProtoBuilder(file)
        self._strings: dict[tuple[str, str], int] = {}
        self._events: dict[Any, pb.TracePacket] = {}

    def packet(self, **fields: Any) -> None:
        """Writes a packet of its own, such as a clock snapshot or the description of a track."""
        self._builder.write_packet(pb.TracePacket(trusted_packet_sequence_id=_SEQUENCE, **fields))

    def event(
        self, time: int, track: int, kind: int, name: str | None = None, arguments: Arguments = (), id_: str = ""
    ) -> None:
        """Writes a track event at ``time`` on the track with the uuid ``track``; ``id_`` is its argument ``id``.

        Events repeat but for these three, so a packet is kept for each kind, name and arguments. Once there are too
        many, all are dropped together with the interned strings to which they refer.
        """
        key = kind, name, arguments, not id_
        kept = self._events.get(key)
        packet = self._first(kind, name, arguments, bool(id_)) if kept is None else kept
        event = packet.track_event
        packet.timestamp, event.track_uuid = time, track
        if id_:
            event.debug_annotations[-1].string_value = id_
        self._builder.write_packet(packet)
        if kept is None:
            packet.ClearField("interned_data")
            packet.ClearField("trace_packet_defaults")
            packet.sequence_flags = pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            self._events[key] = packet

    def _first(self, kind: int, name: str | None, arguments: Arguments, has_id: bool) -> pb.TracePacket:
        """An event with the strings that no packet has defined yet."""
        packet = pb.TracePacket(
            trusted_packet_sequence_id=_SEQUENCE, sequence_flags=pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        )
        if len(self._strings) + len(self._events) > _MOST_KEPT:
            self._strings.clear()
            self._events.clear()
        if not self._events:
            packet.sequence_flags |= pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            packet.trace_packet_defaults.timestamp_clock_id = pb.BUILTIN_CLOCK_BOOTTIME
        event = packet.track_event
        event.type = kind
        if name is not None:
            event.category_iids.append(self._intern(packet, "event_categories", "inetprobe"))
            event.name_iid = self._intern(packet, "event_names", name)
        for argument, value in arguments:
            note = event.debug_annotations.add(name_iid=self._intern(packet, _NAMES, argument))
            if isinstance(value, bool):
                note.bool_value = value
            elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
                note.int_value = value
            else:  # a crafted recording may have counts beyond 64 bits
                note.string_value_iid = self._intern(packet, _VALUES, str(value))
        if has_id:
            event.debug_annotations.add(name_iid=self._intern(packet, _NAMES, "id"))
        return packet

    def _intern(self, packet: pb.TracePacket, table: str, word: str) -> int:
        key = table, word
        if key not in self._strings:
            self._strings[key] = len(self._strings) + 1
            entry = getattr(packet.interned_data, table).add(iid=self._strings[key])
            if table == _VALUES:
                entry.str = word.encode()
            else:
                entry.name = word
        return self._strings[key]
