"""Crafted recordings: each crashed or stopped the reader, or took gigabytes, or would in a less careful reader."""

import io
import json
import struct
import time

import numpy as np
import pyarrow as pa
import pytest

from inetprobe.base.errors import RecordingError
from inetprobe.base.files import OutputFile
from inetprobe.model.protocols import UNITS
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.columns import SCHEMA, check, to_arrow
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import build
from inetprobe.record.layout import RECORD_RETURN_MISSED
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.pump import pump
from tests.fuzz.targets.recording import Terminal
from tests.fuzz.targets.recording import run as replay
from tests.support import builders

ABSENT = object()
DEEP = "[" * 100_000
WRONG = [None, True, 1.5, -1, 10**30, float("nan"), float("inf"), "", "1", "a\n\x1b[31m", [], [1], {}, {"a": "b"}, [[]]]


@pytest.fixture(scope="module", name="facts")
def valid_facts(tmp_path_factory):
    path = tmp_path_factory.mktemp("facts") / "r.arrows"
    RecordingWriter(OutputFile.create(path), builders.run()).summary(Accounting())
    return json.loads(pa.ipc.open_stream(path.read_bytes()).schema.metadata[b"inetprobe"])


def stream(facts, *batches, schema=SCHEMA, **options):
    """The bytes of a recording; ``facts`` and the batches' metadata are JSON texts or values to be made JSON."""
    out = io.BytesIO()
    schema = schema.with_metadata({"inetprobe": _text(facts)})
    with pa.ipc.new_stream(out, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for columns, metadata in batches:
            batch = pa.RecordBatch.from_arrays(columns, schema=schema)
            writer.write_batch(batch, custom_metadata={key: _text(value) for key, value in metadata.items()})
    return out.getvalue()


def _text(value):
    return value if isinstance(value, str | bytes) else json.dumps(value)


def columns(records=None, **changed):
    batch = to_arrow(builders.every_kind() if records is None else records, builders.run())
    return [changed.get(name, batch.column(name)) for name in SCHEMA.names]


BOOKS = {"accounting": Accounting(entries=12, complete=11, incomplete={"return_missed": 1}).to_dict()}


def refused(tmp_path, data, says=None):
    """Reading ``data`` raises a RecordingError of one short line, and no sink raises anything else."""
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=says) as caught:
        pump(RecordingReader(path), build({}), [open_format("tree", Terminal(), Style())])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    replay(data)


def test_a_valid_recording_passes(tmp_path, facts):
    path = tmp_path / "fine"
    path.write_bytes(stream(facts, (columns(), BOOKS)))
    assert pump(RecordingReader(path), build({}), []).complete == 11


@pytest.mark.parametrize(
    "key",
    [
        "format",
        "kernel",
        "clock_offset_ns",
        "host",
        "architecture",
        "mechanism",
        "filters",
        "slots",
        "functions",
        "symbols",
    ],
)
def test_metadata_of_the_wrong_type(facts, key):
    for value in WRONG:
        replay(stream({**facts, key: value}, (columns(), BOOKS)))


@pytest.mark.parametrize(
    "key",
    ["features", "built_in", "loaded", "loadable", "blocked", "remedies", "aliases", "families", "kernel", ABSENT],
)
def test_a_profile_of_the_wrong_type(facts, key):
    for value in WRONG:
        profile = value if key is ABSENT else {**facts["profile"], key: value}
        replay(stream({**facts, "profile": profile}, (columns(), BOOKS)))


@pytest.mark.parametrize("key", ["kernel", "modprobe"])
def test_a_profile_with_a_text_for_every_trace_to_quote(tmp_path, facts, key):
    long = {**facts["profile"], key: "x" * 100_000}
    refused(tmp_path, stream({**facts, "profile": long}, (columns(), BOOKS)), "a string of 100,000 characters")


def test_a_profile_whose_numbers_python_cannot_print(facts):
    for limit in (-(10**4300 - 1), 10**4300 - 1, -1, 2**40):
        features = {**facts["profile"]["features"], "protocol_limit": limit}
        replay(stream({**facts, "profile": {**facts["profile"], "features": features}}, (columns(), BOOKS)))
        replay(stream({**facts, "profile": {**facts["profile"], "ping_group_range": [limit, 0]}}, (columns(), BOOKS)))


@pytest.mark.parametrize(
    "functions", [[], {"256": "f"}, {"-1": "f"}, {"01": "f"}, {"1e2": "f"}, {"1": "f", "2": "f"}, {"1": "\x1b[31m"}]
)
def test_a_table_of_functions_that_no_kernel_has(tmp_path, facts, functions):
    refused(tmp_path, stream({**facts, "functions": functions}, (columns(), BOOKS)), "is not a recording")


@pytest.mark.parametrize("offset", [float("inf"), 10**20, -(10**20), 2**63, 10**4000])
def test_a_clock_offset_that_gives_no_date(tmp_path, facts, offset):
    refused(tmp_path, stream({**facts, "clock_offset_ns": offset}, (columns(), BOOKS)), "clock offset")
    later = {"clock_offset_ns": json.dumps(offset)}
    refused(tmp_path, stream(facts, (columns(), {}), (columns(), later), (columns(), BOOKS)), "clock offset")


def test_the_last_start_a_record_can_have_is_a_date(facts):
    late = builders.created(start=2**64 - 1)
    for offset in (2**63 - 1, -(2**63)):
        replay(stream({**facts, "clock_offset_ns": offset}, (columns(late), BOOKS)))


def test_json_nested_deeper_than_python_goes(tmp_path, facts):
    refused(tmp_path, stream(DEEP), "nested too deeply")
    for key in ("losses", "accounting"):
        refused(tmp_path, stream(facts, (columns(), {key: DEEP})), "nested too deeply")


def test_json_of_many_megabytes(tmp_path, facts):
    refused(tmp_path, stream({**facts, "host": "x" * (1 << 20)}), "its metadata has")


def test_a_newer_format_is_refused_in_one_line(tmp_path, facts):
    refused(tmp_path, stream({"format": "2.0"}), "has format 2.0, and this inetprobe reads 1.x")
    refused(tmp_path, stream({**facts, "format": "2\n" * 1000}), "its format is not a valid name")


@pytest.mark.parametrize(
    "losses",
    [5, {"ab": 1}, [["x", "1"]], [["x", 1.5]], [["x", 2**64]], [["x", 10**4299]] * 2, [["\x1b[31m", 1]], [["x"]], [5]],
)
def test_invalid_losses(tmp_path, facts, losses):
    refused(tmp_path, stream(facts, (columns(), {**BOOKS, "losses": losses})), "is damaged after 0 sockets")


@pytest.mark.parametrize(
    "change",
    [{"entries": "12"}, {"complete": None}, {"lost": []}, {"incomplete": {"a": "b"}}, {"nested": 1.0},
     {"accepted": {"\x1b[2J": 1}}, {"entries": 10**4299}, {"filtered": float("nan")}],
)  # fmt: skip
def test_an_accounting_of_the_wrong_type(tmp_path, facts, change):
    refused(tmp_path, stream(facts, (columns(), {"accounting": {**BOOKS["accounting"], **change}})), "is damaged")
    refused(tmp_path, stream(facts, (columns(), {"accounting": [change]})), "its accounting is not a JSON object")


def test_an_accounting_without_the_reason_of_a_filtered_record(tmp_path, facts):
    missed = builders.created(flags=RECORD_RETURN_MISSED, uid=7)
    path = tmp_path / "r.arrows"
    path.write_bytes(stream(facts, (columns(missed), {"accounting": {"entries": 1, "complete": 1}})))
    accounting = pump(RecordingReader(path), build({"uid": ["0"]}), [])
    assert accounting.incomplete == {"return_missed": -1}


def test_a_result_that_is_not_an_errno(facts):
    odd = builders.created(prot=b"TCP")
    odd["calls"][0, 0]["result"] = 5
    replay(stream(facts, (columns(odd), BOOKS)))


def test_wrong_offsets_of_an_empty_list(tmp_path, facts):
    # Arrow's validation passes them, and its flatten() then aborts the process.
    kind = SCHEMA.field("calls").type
    offsets = pa.py_buffer(struct.pack("<i", 255))
    wrong = pa.Array.from_buffers(kind, 0, [None, offsets], children=[pa.array([], kind.value_type)])
    nothing = builders.every_kind()[:0]
    data = stream(facts, (columns(nothing, calls=wrong), BOOKS))
    path = tmp_path / "r.arrows"
    path.write_bytes(data)
    assert pump(RecordingReader(path), build({}), []).complete == 11
    replay(data)


def test_a_null_among_the_calls(tmp_path, facts):
    calls = to_arrow(builders.created(), builders.run()).column("calls")
    fields = [calls.values.field(n) for n in range(calls.values.type.num_fields)]
    values = pa.StructArray.from_arrays(fields, fields=list(calls.values.type), mask=pa.array([True, False, False]))
    nulls = pa.ListArray.from_arrays(calls.offsets, values, type=calls.type)
    refused(tmp_path, stream(facts, (columns(builders.created(), calls=nulls), BOOKS)), "null call")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_recording_is_refused(tmp_path, facts, codec):
    refused(tmp_path, stream(facts, (columns(), BOOKS), compression=codec), "it is compressed")


def test_the_metadata_of_old_arrow_which_can_hide_compression(tmp_path, facts):
    old = {"compression": "zstd", "metadata_version": pa.ipc.MetadataVersion.V4}
    hidden = {"ARROW:experimental_compression": "zstd", **BOOKS}
    refused(tmp_path, stream(facts, (columns(), hidden), **old), "is not a recording")


def test_an_extension_type_is_not_handed_to_its_code(tmp_path, facts):
    hostile = {"ARROW:extension:name": "arrow.fixed_shape_tensor", "ARROW:extension:metadata": '{"shape":' + DEEP}
    schema = SCHEMA.append(pa.field("x", pa.list_(pa.int8(), 2), metadata=hostile))
    refused(tmp_path, stream(facts, schema=schema), "extension type")
    replay(stream({**facts, "host": "ARROW:extension:name"}, (columns(), BOOKS)))


def test_lengths_beyond_the_file(tmp_path, facts):
    data = stream(facts, (columns(), BOOKS))
    length = data.index(struct.pack("<q", _last_body(data)))
    for claimed in (2**31, 2**40, 2**62, -1):
        refused(tmp_path, data[:length] + struct.pack("<q", claimed) + data[length + 8 :])
    for claimed in (2**31 - 1, 2**20, -(2**31)):
        refused(tmp_path, b"\xff\xff\xff\xff" + struct.pack("<i", claimed) + data[8:], "is not a recording")


def _last_body(data):
    """The size in bytes of the body of the stream's last message."""
    reader = pa.ipc.MessageReader.open_stream(data)
    size = 0
    while True:
        try:
            size = reader.read_next_message().body.size
        except StopIteration:
            return size


def test_columns_that_share_their_bytes():
    batch = to_arrow(np.tile(builders.created(), 1000), builders.run())
    check(batch, batch.nbytes)
    with pytest.raises(RecordingError, match=r"a batch of 1,000 sockets has 8,000 bytes"):
        check(batch, 8 * batch.num_rows)


@pytest.mark.parametrize("field", [1, 2], ids=["type", "itself"])
def test_a_message_without_its_header(tmp_path, facts, field):
    """Arrow's own check of a message takes none for granted."""
    whole = stream(facts, (columns(builders.created()), BOOKS))
    start, kinds = 0, []
    for message in pa.ipc.MessageReader.open_stream(whole):
        metadata = start + 8  # behind four bytes of ones and its length
        (root,) = struct.unpack_from("<I", whole, metadata)
        (back,) = struct.unpack_from("<i", whole, metadata + root)
        damaged = bytearray(whole)
        struct.pack_into("<H", damaged, metadata + root - back + 4 + 2 * field, 0)
        refused(tmp_path, bytes(damaged), "header")
        start = metadata + struct.unpack_from("<I", whole, start + 4)[0] + message.body.size
        kinds.append(message.type)
    assert {"schema", "dictionary", "record batch"} == set(kinds)


def test_a_huge_batch_is_split(tmp_path, facts):
    path = tmp_path / "r.arrows"
    lost = {**BOOKS, "losses": [["ring_full", 3]]}
    path.write_bytes(stream(facts, (columns(np.tile(builders.created(), 40_000)), lost)))
    batches = list(RecordingReader(path).batches())
    assert [len(batch) for batch in batches] == [16384, 16384, 7232]
    assert [sum(loss.count for loss in batch.losses) for batch in batches] == [3, 0, 0]


def test_a_long_path_of_many_cgroups(tmp_path, facts):
    records = np.tile(builders.created(), 2000)
    records["cgroup_id"] = np.arange(2000)
    long, longest = "/" * (1 << 20), "/" * 16_000
    paths = [
        pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([path])) for path in (long, longest)
    ]
    refused(tmp_path, stream(facts, (columns(records, cgroup=paths[0]), BOOKS)), "longer than the kernel takes")
    path = tmp_path / "r.arrows"
    path.write_bytes(stream(facts, (columns(records, cgroup=paths[1]), BOOKS)))
    began = time.process_time()
    assert pump(RecordingReader(path), build({"cgroup": ["!/x", "!/*x"]}), []).complete == 11
    assert time.process_time() - began < 5


def test_a_large_dictionary_for_many_small_batches(tmp_path, facts):
    words = pa.array([f"comm{n}" for n in range(500_000)])
    comm = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), words)
    small = (columns(builders.created(), comm=comm), {})
    path = tmp_path / "r.arrows"
    path.write_bytes(stream(facts, *[small] * 100, (columns(builders.created(), comm=comm), BOOKS)))
    began = time.process_time()
    assert {batch.records["comm"][0] for batch in RecordingReader(path).batches()} == {b"comm7"}
    assert time.process_time() - began < 5


def test_a_profile_that_has_every_module_thrice(tmp_path, facts):
    profile = {**facts["profile"], "loaded": list(UNITS), "loadable": list(UNITS), "blocked": dict.fromkeys(UNITS, "x")}
    path = tmp_path / "r.arrows"
    path.write_bytes(stream({**facts, "profile": profile}, (columns(builders.created(protocol=256)), BOOKS)))
    began = time.process_time()
    pump(RecordingReader(path), build({}), [open_format("json", io.StringIO(), Style())])
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["comm", "prot", "cgroup"])
@pytest.mark.parametrize("index", [-1, 1, 2**31 - 1])
def test_a_name_index_out_of_range_is_refused_at_once(tmp_path, facts, name, index):
    indices = pa.array([0] * 11 + [index], pa.int32())
    beyond = pa.DictionaryArray.from_arrays(indices, pa.array(["x"]), safe=False)
    data = stream(facts, (columns(**{name: beyond}), BOOKS))
    refused(tmp_path, data, "is damaged after 0 sockets")
    with pytest.raises(RecordingError, match="lies outside its dictionary"):
        list(RecordingReader(tmp_path / "hostile").batches())


def test_a_function_index_out_of_range(tmp_path, facts):
    calls = to_arrow(builders.created(), builders.run()).column("calls")
    fields = {field.name: calls.values.field(place) for place, field in enumerate(calls.values.type)}
    fields["function"] = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, -1], pa.int32()), pa.array(["inet_create", "sk_alloc"]), safe=False
    )
    values = pa.StructArray.from_arrays(list(fields.values()), fields=list(calls.values.type))
    nowhere = pa.ListArray.from_arrays(calls.offsets, values, type=calls.type)
    refused(tmp_path, stream(facts, (columns(builders.created(), calls=nowhere), BOOKS)), "lies outside its dictionary")


def test_call_offsets_that_decrease(tmp_path, facts):
    records = np.tile(builders.created(), 3)
    calls = to_arrow(records, builders.run()).column("calls")
    offsets = pa.py_buffer(struct.pack("<4i", 0, 5, 3, 9))
    wrong = pa.Array.from_buffers(calls.type, 3, [None, offsets], children=[calls.values])
    refused(tmp_path, stream(facts, (columns(records, calls=wrong), BOOKS)), "offsets of column calls lie outside it")
