"""Mutants in places that random bytes seldom reach: of a valid recording its JSON, columns and batches; of any JSON.

A mutant is a whole stream again, so that the fuzzer can go on from one that reached new code.
"""

import io
import json

import numpy as np
import pyarrow as pa

from inetprobe.base.errors import InetprobeError
from inetprobe.record.arrow.guard import Messages
from tests.fuzz.seeds import CORPUS

_EDGES = [0, 1, -1, 2, 7, 8, 9, 31, 32, 33, 64, 127, 128, 255, 256, -128, 65535, 65536, 2**31 - 1, 2**31, -(2**31)]
_EDGES += [2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**19, 10**4299, -(10**30)]
_TEXTS = ["", "x", "inet_create", "sk_alloc", "ring_full", "malformed", "0", "255", "256", "-1", "01", " 1", "1.5"]
_TEXTS += ["\0", "\n", "\x1b[31m", "\\", "\\x41", "\\xff", "\\\\x", "\ud800", "\u202e", "é", "\U0001f600", "/", "//"]
_TEXTS += ["a" * 300, "/" * 5000, "\\x00" * 40, "NaN", "null", "9" * 5000]
_VALUES = [
    None,
    True,
    False,
    float("nan"),
    float("inf"),
    -float("inf"),
    0.5,
    1e308,
    -0.0,
    [],
    {},
    [[]],
    [[1]],
    {"a": 1},
]
_VALUES += [["ring_full", 1], [["ring_full", 1]], *_EDGES, *_TEXTS]
_TYPES = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.uint64(),
    pa.float64(),
    pa.utf8(),
    pa.large_utf8(),
    pa.binary(),
    pa.decimal128(38, 3),
    pa.timestamp("ns", "UTC"),
    pa.list_(pa.int8()),
    pa.list_view(pa.int8()),
    pa.struct([("a", pa.utf8())]),
    pa.map_(pa.utf8(), pa.int8()),
    pa.dictionary(pa.int8(), pa.utf8()),
    pa.dictionary(pa.int32(), pa.large_utf8()),
    pa.run_end_encoded(pa.int32(), pa.int8()),
]
_REFUSED = (InetprobeError, pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError)
_DEEP = b"[" * 5000


def mutate(data, rng):
    """A mutant of ``data``, or of a seed where ``data`` is not a stream that can be parsed."""
    for source in (data, rng.choice(sorted(CORPUS.iterdir())).read_bytes()):
        try:
            stream = _Stream(source)
            for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
                rng.choice(_MUTATIONS)(stream, rng)
            return stream.write(rng)
        except (*_REFUSED, RecursionError):
            continue
    return data


def mutate_json(data, rng):
    """A mutant of ``data``, JSON with one value changed or moved; of what is no JSON, a byte."""
    try:
        return _json(data, rng)
    except (ValueError, RecursionError):
        return _byte(data, rng)


class _Stream:
    def __init__(self, data):
        with pa.ipc.open_stream(Messages(pa.BufferReader(data))) as reader:
            self.metadata = dict(reader.schema.metadata or {})
            self.names = list(reader.schema.names)
            self.batches = []
            while len(self.batches) < 64:
                try:
                    batch, metadata = reader.read_next_batch_with_custom_metadata()
                    batch.validate(full=True)
                except (StopIteration, *_REFUSED):
                    break
                self.batches.append((list(batch.columns), dict(metadata or {})))
        self.fields = list(reader.schema)

    def write(self, rng):
        out = io.BytesIO()
        fields = [field.with_name(name) for field, name in zip(self.fields, self.names, strict=True)]
        options = pa.ipc.IpcWriteOptions(
            compression=rng.choice([*[None] * 30, "lz4", "zstd"]),
            metadata_version=rng.choice([*[pa.ipc.MetadataVersion.V5] * 9, pa.ipc.MetadataVersion.V4]),
            use_legacy_format=rng.random() < 0.02,
            emit_dictionary_deltas=rng.random() < 0.2,
            allow_64bit=True,
        )
        schema = pa.schema(fields, metadata=self.metadata)
        with pa.ipc.new_stream(out, schema, options=options) as writer:
            for columns, metadata in self.batches:
                batch = pa.RecordBatch.from_arrays(columns, schema=schema)
                writer.write_batch(batch, custom_metadata=metadata or None)
        return out.getvalue()


def _schema_json(stream, rng):
    stream.metadata[b"inetprobe"] = _json(stream.metadata.get(b"inetprobe", b"{}"), rng)


def _batch_json(stream, rng):
    _, metadata = rng.choice(stream.batches)
    key = rng.choice([b"losses", b"accounting"])
    stub = b'[["ring_full", 3]]' if key == b"losses" else b'{"entries": 12, "incomplete": {"return_missed": 1}}'
    if rng.random() < 0.1:
        metadata.pop(key, None)
    else:
        metadata[key] = _json(metadata.get(key, stub), rng)


def _json(raw, rng):
    chance = rng.random()
    if chance < 0.02:
        return _DEEP
    if chance < 0.1:
        return _byte(raw, rng)
    root = [json.loads(raw)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, key = rng.choice(list(_places(root)))
        chance = rng.random()
        if chance < 0.6 or place is root:
            place[key] = rng.choice(_VALUES)
        elif chance < 0.7:
            del place[key]
        elif isinstance(place, dict):
            place[str(rng.choice(_VALUES[:40] + _TEXTS))] = place[key]
        else:
            place.append(place[key])
    return json.dumps(root[0]).encode()


def _byte(raw, rng):
    cut = rng.randrange(len(raw) + 1)
    return raw[:cut] + bytes([rng.randrange(256)]) + raw[cut + rng.randrange(2) :]


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def _column(stream, rng):
    columns, _ = rng.choice(stream.batches)
    place = rng.randrange(len(columns))
    columns[place] = _array(columns[place], rng)


def _array(array, rng):
    kind = array.type
    if pa.types.is_dictionary(kind):
        index, words = array.indices, array.dictionary
        if rng.random() < 0.5:
            index = _array(index, rng)
        else:
            words = _array(words, rng)
        return pa.DictionaryArray.from_arrays(index, words, safe=False)
    if pa.types.is_struct(kind):
        fields = [array.field(n) for n in range(kind.num_fields)]
        place = rng.randrange(len(fields))
        fields[place] = _array(fields[place], rng)
        mask = pa.array(rng.random() < 0.3 for _ in range(len(array))) if rng.random() < 0.1 else None
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=mask)
    if pa.types.is_list(kind):
        offsets, values = array.offsets, array.values
        if rng.random() < 0.2:
            offsets = _array(offsets, rng)
        else:
            values = _array(values, rng)
        return pa.Array.from_buffers(kind, len(array), [None, offsets.buffers()[1]], children=[values])
    if pa.types.is_string(kind):
        words = array.to_pylist() or [None]
        words[rng.randrange(len(words))] = rng.choice([*_TEXTS, None])
        return pa.array([word if word is None else word.encode() for word in words], pa.binary()).view(kind)
    numbers = np.array(array.fill_null(0))
    rows = rng.choices(range(len(numbers)), k=rng.choice((1, 1, 2, len(numbers))))
    for row in rows:
        edge = rng.choice([*_EDGES[:-3], int(numbers[rng.randrange(len(numbers))]) + rng.choice((-1, 1))])
        numbers[row] = np.array(int(edge) % 2**64, np.uint64).astype(numbers.dtype)
    mask = np.array([rng.random() < 0.3 for _ in numbers]) if rng.random() < 0.1 else None
    return pa.array(numbers, kind, mask=mask)


def _other_type(stream, rng):
    kind = rng.choice(_TYPES)
    for _ in range(rng.choice((0, 0, 1, 30, 60, 100))):
        kind = rng.choice([pa.list_(kind), pa.struct([("a", kind)])])
    place = rng.randrange(len(stream.fields) + 1)
    if rng.random() < 0.7:
        place = len(stream.fields)
    stream.fields[place : place + 1] = [pa.field("odd", kind)]
    stream.names[place : place + 1] = [stream.names[place] if place < len(stream.names) else rng.choice(_TEXTS[:20])]
    for columns, _ in stream.batches:
        columns[place : place + 1] = [pa.nulls(len(columns[0]), kind)]


def _names(stream, rng):
    one, other = rng.randrange(len(stream.names)), rng.randrange(len(stream.names))
    if rng.random() < 0.5:
        for things in (stream.names, stream.fields, *(columns for columns, _ in stream.batches)):
            things[one], things[other] = things[other], things[one]
    else:
        stream.names[one] = stream.names[other]


def _batches(stream, rng):
    place = rng.randrange(len(stream.batches))
    columns, metadata = stream.batches[place]
    chance = rng.random()
    if chance < 0.3:
        stream.batches.insert(rng.randrange(len(stream.batches) + 1), (list(columns), dict(metadata)))
    elif chance < 0.4:
        del stream.batches[place]
    elif chance < 0.7:
        rows = rng.choices(range(len(columns[0])), k=rng.choice((0, 1, 3, 8, 20)))
        stream.batches[place] = ([column.take(pa.array(rows, pa.int32())) for column in columns], metadata)
    else:
        rng.shuffle(stream.batches)


_MUTATIONS = [_schema_json, _schema_json, _batch_json, _batch_json, _column, _column, _column, _column, _batches]
_MUTATIONS += [_other_type, _names]
