"""An Arrow IPC stream that is not trusted: each message is checked before Arrow's own reader acts on it.

Arrow believes what a stream declares: it allocates the length of a body before it reads it, unpacks buffers to the size
that they claim, and hands extension types to other code. No recording needs any of that, and a message that asks for it
is refused.
"""

from __future__ import annotations

import struct
from collections import deque

import pyarrow as pa

from inetprobe.base.errors import RecordingError

# Arrow's Format.fbs: MessageHeader, and the indices of the fields that are read in its tables.
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3
_MESSAGE_VERSION, _MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 0, 1, 2
_V5 = 4
_SCHEMA_ENDIANNESS, _DICTIONARY_DATA, _BATCH_COMPRESSION = 0, 1, 3
# The string with its length, as in a flatbuffer: the same text inside another string (a host's name) does not match.
_EXTENSION = struct.pack("<I", len(b"ARROW:extension:name")) + b"ARROW:extension:name"


class Messages:
    """A readable file for ``pyarrow.ipc.open_stream``: the stream in ``file``, each message checked first.

    ``read`` raises RecordingError for a message that no recording has. ``body`` is the size in bytes of the last
    message's body.
    """

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self.body = 0
        self._file = _Bounded(file)
        self._reader = pa.ipc.MessageReader.open_stream(self._file)
        self._pending: deque[pa.Buffer] = deque()

    @property
    def short(self) -> bool:
        """Did the file end inside a message?"""
        return self._file.short

    def read(self, size: int) -> pa.Buffer:
        """The next ``size`` bytes, or fewer at a message's end: Arrow never reads across it."""
        if not self._pending:
            self._file.pieces.clear()
            try:
                message = self._reader.read_next_message()
            except StopIteration:
                return _NOTHING
            _check(message)
            self.body = message.body.size
            # Without a copy: the pieces that one reader has read are passed on to the other.
            self._pending.extend(self._file.pieces)
        piece = self._pending.popleft()
        if piece.size > size:
            self._pending.appendleft(piece.slice(size))
        return piece.slice(0, size)


_NOTHING = pa.py_buffer(b"")


class _Bounded:
    """A file from which no more is read than it has, since Arrow allocates what it asks for. ``pieces`` is what was
    read."""

    # Nothing that Arrow holds may refer to Messages: Python cannot see a reference cycle through Arrow, and free it.
    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self.short = False
        self.pieces: list[pa.Buffer] = []
        self._file = file

    def read(self, size: int) -> pa.Buffer:
        left = max(self._file.size() - self._file.tell(), 0)
        self.short |= size > left
        piece = self._file.read_buffer(min(size, left))
        if piece.size:
            self.pieces.append(piece)
        return piece


def _check(message: pa.Message) -> None:
    metadata = message.metadata.to_pybytes()  # Arrow has verified the flatbuffer: its offsets stay inside
    root = _follow(metadata, 0)
    version = _field(metadata, root, _MESSAGE_VERSION)
    if not version or metadata[version] != _V5:  # in V4 a batch may say in its own metadata that it is compressed
        raise RecordingError("it is of an Arrow format from before 2020")
    offsets = [_field(metadata, root, field) for field in (_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER)]
    if not all(offsets):
        raise RecordingError("it has a message without a header")
    header_type, header = metadata[offsets[0]], _follow(metadata, offsets[1])
    if header_type == _SCHEMA:
        if _EXTENSION in metadata:
            raise RecordingError("it has a column of an extension type")
        endianness = _field(metadata, header, _SCHEMA_ENDIANNESS)
        if endianness and metadata[endianness]:
            raise RecordingError("it was written by a big-endian machine")
    elif header_type == _DICTIONARY_BATCH:
        data = _field(metadata, header, _DICTIONARY_DATA)
        _check_batch(metadata, _follow(metadata, data) if data else 0)
    elif header_type == _RECORD_BATCH:
        _check_batch(metadata, header)


def _check_batch(metadata: bytes, batch: int) -> None:
    # A few compressed bytes may unpack to gigabytes.
    if batch and _field(metadata, batch, _BATCH_COMPRESSION):
        raise RecordingError("it is compressed, which no recording is")


def _follow(metadata: bytes, pointer: int) -> int:
    """The position of the table that the offset at position ``pointer`` leads to."""
    offset: int = struct.unpack_from("<I", metadata, pointer)[0]
    return pointer + offset


def _field(metadata: bytes, table: int, index: int) -> int:
    """The position of the table's field ``index``, 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    slot = 4 + 2 * index
    if slot >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", metadata, vtable + slot)[0]
    return table + offset if offset else 0
