"""Writes Perfetto's packets as a stream: the repeated parts are encoded once by the protobuf library and then copied.

A track event consists of a part that repeats (name, arguments) and a part of its own (time, track, id). Fields of a
protobuf message may come in any order, so the two are concatenated. Once there are too many interned strings, all of
them are dropped together with the encoded parts that refer to them.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

#: Arbitrary: the trace has only one writer.
_SEQUENCE = 0x696E6574
_MOST_STRINGS = 1 << 16
_VARINT, _BYTES = 0, 2
_TABLES = {
    "category": "event_categories",
    "name": "event_names",
    "argument": "debug_annotation_names",
    "value": "debug_annotation_string_values",
}

BEGIN = pb.TrackEvent.TYPE_SLICE_BEGIN
END = pb.TrackEvent.TYPE_SLICE_END
INSTANT = pb.TrackEvent.TYPE_INSTANT


class Packets:
    """Writes packets to ``file``, whose OSErrors pass through. Times are CLOCK_BOOTTIME in nanoseconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._strings: dict[tuple[str, str], int] = {}
        self._new = pb.InternedData()
        self._events: dict[Any, bytes] = {}
        self._fresh = True
        self._head = _field(pb.TracePacket, "trusted_packet_sequence_id", _VARINT) + varint(_SEQUENCE)
        self._head += _field(pb.TracePacket, "sequence_flags", _VARINT)
        self._head += varint(pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE)
        self._event_tag = _field(pb.TracePacket, "track_event", _BYTES)
        self._time_tag = _field(pb.TracePacket, "timestamp", _VARINT)
        self._packet_tag = _field(pb.Trace, "packet", _BYTES)

    def packet(self, **fields: Any) -> None:
        """Writes a packet of its own, such as a clock snapshot or the description of a track."""
        packet = pb.TracePacket(trusted_packet_sequence_id=_SEQUENCE, **fields)
        self._write(packet.SerializeToString())

    def event(self, time: int, track: bytes, event: bytes, own: bytes = b"") -> None:
        """Writes a track event at ``time``: encoded ``track`` (see ``on_track``), ``event`` and ``own`` arguments."""
        size = varint(len(track) + len(event) + len(own))
        self._write(b"".join((self._time_tag, varint(time), self._head, self._event_tag, size, track, event, own)))

    def repeated(self, kind: int, name: str | None, arguments: tuple[tuple[str, Any], ...] = ()) -> bytes:
        """The encoded part of an event that repeats; it is kept for the next event."""
        key = kind, name, arguments
        if key not in self._events:
            if len(self._strings) + len(self._events) > _MOST_STRINGS:
                self._forget()
            self._events[key] = self._encode(kind, name, arguments)
            self._describe()
        return self._events[key]

    def argument(self, name: str, value: str) -> bytes:
        """An encoded argument that only one event has."""
        note = pb.TrackEvent(debug_annotations=[pb.DebugAnnotation(name=name, string_value=value)])
        return bytes(note.SerializeToString())

    def _encode(self, kind: int, name: str | None, arguments: tuple[tuple[str, Any], ...]) -> bytes:
        event = pb.TrackEvent(type=kind)
        if name is not None:
            event.category_iids.append(self._intern("category", "inetprobe"))
            event.name_iid = self._intern("name", name)
        for argument, value in arguments:
            note = event.debug_annotations.add(name_iid=self._intern("argument", argument))
            if isinstance(value, bool):
                note.bool_value = value
            elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
                note.int_value = value
            else:  # a crafted recording may have counts beyond 64 bits
                note.string_value_iid = self._intern("value", str(value))
        return bytes(event.SerializeToString())

    def _intern(self, table: str, word: str) -> int:
        key = table, word
        if key not in self._strings:
            self._strings[key] = len(self._strings) + 1
            added = getattr(self._new, _TABLES[table]).add(iid=self._strings[key])
            if table == "value":
                added.str = word.encode()
            else:
                added.name = word
        return self._strings[key]

    def _describe(self) -> None:
        """Writes the new strings, which must come before any packet that refers to them."""
        if not self._new.ByteSize() and not self._fresh:
            return
        flags = pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        packet = pb.TracePacket(trusted_packet_sequence_id=_SEQUENCE, interned_data=self._new)
        if self._fresh:
            flags |= pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            packet.trace_packet_defaults.timestamp_clock_id = pb.BUILTIN_CLOCK_BOOTTIME
        packet.sequence_flags = flags
        self._write(packet.SerializeToString())
        self._new, self._fresh = pb.InternedData(), False

    def _forget(self) -> None:
        self._strings.clear()
        self._events.clear()
        self._fresh = True

    def _write(self, packet: bytes) -> None:
        self._file.write(self._packet_tag + varint(len(packet)) + packet)


def on_track(uuid: int) -> bytes:
    """The encoded track of an event."""
    return _field(pb.TrackEvent, "track_uuid", _VARINT) + varint(uuid)


def varint(number: int) -> bytes:
    """A number of at least 0 as a protobuf varint: seven bits per byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _field(message: Any, name: str, wire_type: int) -> bytes:
    return varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | wire_type)
