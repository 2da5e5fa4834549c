import io
import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.base.errors import InetprobeError, RecordingError
from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow import reader as recording_reader
from inetprobe.record.arrow import writer as recording_writer
from inetprobe.record.arrow.metadata import KEY, run_metadata, run_of
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.filter import Filters, build
from inetprobe.record.layout import CALL_VOID, FUNCTIONS, RECORD, SLOTS_ALSO, record_dtype
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output import Style, open_format
from inetprobe.trace.pump import pump
from tests.support import builders

BOOKS = Accounting(entries=15, complete=11, incomplete={"return_missed": 1}, lost={"ring_full": 3})


@pytest.mark.parametrize(
    ("text", "mechanisms"),
    [
        ("inet_create:fentry, sk_alloc:kprobe", {"inet_create": "fentry", "sk_alloc": "kprobe"}),
        ("inet_create:fentry, odd", {"inet_create": "fentry"}),
        ("kprobe", dict.fromkeys(FUNCTIONS.values(), "kprobe")),
        ("", {}),
    ],
)
def test_mechanisms_are_one_text_in_the_metadata(text, mechanisms):
    facts = json.loads(run_metadata(replace(builders.run(), mechanisms={"a": "fentry", "b": "kprobe"}))[KEY])
    assert facts["mechanism"] == "a:fentry, b:kprobe"
    assert run_of({**facts, "mechanism": text}).mechanisms == mechanisms


def test_a_recording_says_whether_its_kernel_preempts_itself():
    facts = json.loads(run_metadata(replace(builders.run(), preemption="lazy"))[KEY])
    assert run_of(facts).preemption == "lazy"
    del facts["preemption"]  # one that an earlier inetprobe made
    assert run_of(facts).preemption is None


def test_the_names_that_the_compiler_gave_functions_are_in_the_metadata():
    symbols = {"sk_prot_alloc": "sk_prot_alloc.isra.0"}
    facts = json.loads(run_metadata(replace(builders.run(), symbols=symbols))[KEY])
    assert facts["symbols"] == run_of(facts).symbols == symbols
    del facts["symbols"]  # as in a recording of an older version
    assert run_of(facts).symbols == {}


def write(path, batches=None, redact=frozenset()):
    sink = RecordingWriter(OutputFile.create(path), builders.run(), redact)
    for batch in batches or [Batch(builders.every_kind(), (Loss("ring_full", 3),))]:
        sink.batch(batch, builders.run())
    sink.summary(BOOKS)
    return path


def read(path):
    source = RecordingReader(path)
    return list(source.batches()), source


def test_records_are_read_as_they_were_written(tmp_path):
    batches, source = read(write(tmp_path / "r.arrows"))
    assert np.array_equal(np.concatenate([batch.records for batch in batches]), builders.every_kind())
    assert source.accounting() == BOOKS
    assert source.run.cgroups[1] == "/"
    assert source.run.kernel == "6.1.0-test"


def of_seconds(monkeypatch, path, losses, large=()):
    """A recording of a batch a second, of 2 sockets each, or 400; ``losses`` before some of them."""
    monkeypatch.setattr(recording_writer, "_FLUSH_S", 0.0)
    kinds = np.resize(builders.every_kind(), 400)
    kinds["seq"] = np.arange(400)
    seconds = [
        Batch(kinds if second in large else kinds[second : second + 2], (Loss("ring_full", 1),) * (second in losses))
        for second in range(60)
    ]
    return write(path, seconds)


def test_the_batches_of_a_quiet_host_are_joined(tmp_path, monkeypatch):
    batches, source = read(of_seconds(monkeypatch, tmp_path / "r.arrows", losses={20, 40, 41}, large={30}))
    assert [(len(batch), sum(loss.count for loss in batch.losses)) for batch in batches] == [
        (40, 0), (20, 1), (400, 0), (18, 0), (2, 1), (38, 1),
    ]  # fmt: skip
    assert batches[0].column("seq").tolist() == [seq + more for seq in range(20) for more in (0, 1)]
    assert source.accounting() == BOOKS


def test_joined_batches_have_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_reader, "_ROWS", 32)
    batches, _ = read(of_seconds(monkeypatch, tmp_path / "r.arrows", losses=()))
    assert [len(batch) for batch in batches] == [32, 32, 32, 24]


def test_records_after_the_clock_was_set_have_the_new_time(tmp_path, monkeypatch):
    """Also where they wait to be written, or are joined as they are read, with those before."""
    monkeypatch.setattr(recording_writer, "_FLUSH_S", 3600.0)
    run, kinds = builders.run(), builders.every_kind()
    begun = run.clock_offset_ns
    sink = RecordingWriter(OutputFile.create(tmp_path / "r.arrows"), run)
    for seq, offset in enumerate([begun, begun, begun + 5, begun + 5, begun - 5, begun]):
        run.clock_offset_ns = offset
        kinds["seq"] = seq
        sink.batch(Batch(kinds.copy()), run)
    sink.summary(BOOKS)
    source = RecordingReader(tmp_path / "r.arrows")
    seen = [(source.run.clock_offset_ns - begun, sorted({*batch.column("seq").tolist()})) for batch in source.batches()]
    assert seen == [(0, [0, 1]), (5, [2, 3]), (-5, [4]), (0, [5])]


def test_what_was_joined_before_a_damage_is_read(tmp_path, monkeypatch):
    path = of_seconds(monkeypatch, tmp_path / "r.arrows", losses=())
    path.write_bytes(path.read_bytes()[:-5000])
    source, seen = RecordingReader(path), []
    with pytest.raises(RecordingError, match="cut short after"):
        seen.extend(map(len, source.batches()))
    assert 90 < sum(seen) < 120
    assert source.accounting().complete + sum(source.accounting().incomplete.values()) == sum(seen)


def test_a_reader_that_is_stopped_gives_nothing_more(tmp_path, monkeypatch):
    source = RecordingReader(of_seconds(monkeypatch, tmp_path / "r.arrows", losses={20}))
    batches = source.batches()
    assert len(next(batches)) == 40
    source.stop()
    assert list(batches) == []


def test_system_calls_are_read_as_they_were_written(tmp_path):
    records = builders.every_syscall()
    batches, _ = read(write(tmp_path / "r.arrows", [Batch(records)]))
    assert np.array_equal(batches[0].records, records)


def test_a_recording_of_format_1_0_has_no_system_calls(tmp_path):
    """It lacks the columns of what was asked for."""
    path, old = write(tmp_path / "new.arrows", [Batch(builders.every_kind())]), tmp_path / "old.arrows"
    new = ("asked_family", "asked_type", "asked_protocol", "descriptor")
    with pa.ipc.open_stream(path) as stream:
        kept = [name for name in stream.schema.names if name not in new]
        schema = pa.schema([stream.schema.field(name) for name in kept], stream.schema.metadata)
        with pa.ipc.new_stream(old, schema) as writer:
            for batch in stream.iter_batches_with_custom_metadata():
                writer.write_batch(batch.batch.select(kept), batch.custom_metadata)
    batches, source = read(old)
    assert np.array_equal(np.concatenate([batch.records for batch in batches]), builders.every_kind())
    assert all(trace.asked is None for batch in batches for trace in call_traces(batch, source.run))


def test_long_traces_of_also_are_read_as_they_were_written(tmp_path):
    run = builders.run()
    run.slots, run.functions = SLOTS_ALSO, {**FUNCTIONS, 8: "sock_init_data"}
    records = np.zeros(1, record_dtype(SLOTS_ALSO))
    short = builders.created()
    for name in short.dtype.names:
        if name != "calls":
            records[name] = short[name]
    records["calls"][:, :3] = short["calls"][:, :3]
    for slot in range(3, 20):
        records["calls"][0, slot] = builders.call(8, 1, 5000 + slot, 1)
        records["calls"][0, slot]["flags"] |= CALL_VOID
    records["ncalls"] = 20
    sink = RecordingWriter(OutputFile.create(tmp_path / "r.arrows"), run)
    sink.batch(Batch(records), run)
    sink.summary(Accounting(entries=1, complete=1))
    (batch, *_), source = read(tmp_path / "r.arrows")
    assert np.array_equal(batch.records, records)
    (trace,) = call_traces(batch, source.run)
    assert [call.function for call in trace.calls[3:]] == ["sock_init_data"] * 17
    assert trace.calls[3].result is None
    assert trace.calls[3].duration_ns == 1


def test_the_replay_prints_the_same_bytes(tmp_path):
    live, again = io.StringIO(), io.StringIO()
    kept = Batch(builders.every_kind(), (Loss("ring_full", 3),))
    sink = open_format("json", live, Style())
    sink.batch(kept, builders.run())
    sink.summary(BOOKS)
    pump(RecordingReader(write(tmp_path / "r.arrows")), Filters(), [open_format("json", again, Style())])
    assert again.getvalue() == live.getvalue()


def test_a_copy_equals_its_recording(tmp_path):
    kinds = np.tile(builders.every_kind(), 3000)
    parts = [
        Batch(kinds[start : start + 2048], (Loss("ring_full", 1),) * (start == 20_480))
        for start in range(0, len(kinds), 2048)
    ]
    path = write(tmp_path / "r.arrows", parts)
    source = RecordingReader(path)
    pump(source, Filters(), [RecordingWriter(OutputFile.create(tmp_path / "copy"), source.run)])
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 11), max_size=30), st.booleans()), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([["0"], ["1000"], ["0,1000"]]),
)
def test_a_filtered_copy_has_the_records_that_passed(parts, sock, uids):
    run, kinds = builders.run(), builders.every_kind()
    if sock:
        run.sock, kinds = True, builders.with_sock(kinds, builders.TCP_SOCK, None, builders.TCP_SOCK)
    folder = DAMAGED.parent
    whole, copy = folder / "whole", folder / "copy"
    sink = RecordingWriter(OutputFile.create(whole), run)
    for places, lossy in parts:
        sink.batch(Batch(kinds[np.array(places, int)], (Loss("ring_full", 1),) * lossy), run)
    sink.summary(BOOKS)
    source = RecordingReader(whole)
    pump(source, build({"uid": uids}), [RecordingWriter(OutputFile.create(copy), source.run)])
    batches, again = read(copy)
    records = kinds[np.array([place for places, _ in parts for place in places], int)]
    kept = records[np.isin(records["uid"], [int(uid) for uid in uids[0].split(",")])]
    assert b"".join(batch.records.tobytes() for batch in batches) == kept.tobytes()
    assert sum(loss.count for batch in batches for loss in batch.losses) == sum(lossy for _, lossy in parts)
    assert again.run.cgroups == (builders.run().cgroups if len(kept) else {})
    assert again.accounting().filtered == len(records) - len(kept)


def test_a_filtered_copy_names_only_what_passed(tmp_path):
    path = write(tmp_path / "r.arrows")
    source = RecordingReader(path)
    pump(source, build({"uid": ["1000"]}), [RecordingWriter(OutputFile.create(tmp_path / "kept"), source.run)])
    batches, _ = read(tmp_path / "kept")
    assert np.concatenate([batch.records for batch in batches]).tobytes() == builders.every_kind()[2:3].tobytes()
    assert b"MPTCP" in path.read_bytes()
    assert b"MPTCP" not in (tmp_path / "kept").read_bytes()


def test_losses_stay_where_they_happened(tmp_path):
    kinds = builders.every_kind()
    given_batches = [Batch(kinds[:3]), Batch(kinds[3:5], (Loss("ring_full", 2),)), Batch(kinds[5:])]
    batches, _ = read(write(tmp_path / "r.arrows", given_batches))
    before = 0
    for batch in batches:
        if batch.losses:
            assert (before, batch.losses) == (3, (Loss("ring_full", 2),))
        before += len(batch)
    assert before == len(kinds)


def test_a_recording_cut_anywhere_is_shown_up_to_there(tmp_path):
    whole = write(tmp_path / "r.arrows").read_bytes()
    cut = tmp_path / "cut.arrows"
    shown = set()
    # Five is prime to Arrow's alignment: every place within its words is cut at, and the end byte for byte.
    for size in (*range(0, len(whole) - 600, 5), *range(len(whole) - 600, len(whole) - 16)):
        cut.write_bytes(whole[:size])
        count = 0
        try:
            for batch in RecordingReader(cut).batches():
                count += len(batch)
        except RecordingError as error:
            assert "\n" not in str(error)
            shown.add(count)
        else:
            pytest.fail(f"a recording cut at {size} of {len(whole)} bytes passed for whole")
    assert shown == {0, 12}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_raises_recording_error_only(data):
    whole = bytearray(DAMAGED.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    target = DAMAGED.with_suffix(".damaged")
    target.write_bytes(whole)
    try:
        pump(RecordingReader(target), Filters(), [open_format("json", io.StringIO(), Style())])
    except InetprobeError as error:
        assert "\n" not in str(error)


DAMAGED = Path("unset")


@pytest.fixture(autouse=True, scope="module")
def _recording_to_damage(tmp_path_factory):
    global DAMAGED
    DAMAGED = write(tmp_path_factory.mktemp("damage") / "r.arrows")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"ARROW1\0\0", bytes(100), b"\xff\xff\xff\xff\x10\0\0\0" + bytes(64)]
)
def test_a_foreign_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"is empty|is not a recording") as caught:
        RecordingReader(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_one_sentence(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RecordingError):
            list(RecordingReader(path).batches())


def test_redacted_names_are_nowhere_in_the_file(tmp_path):
    path = write(tmp_path / "r.arrows", redact=frozenset({"host", "comm", "cgroup"}))
    assert b"python3" not in path.read_bytes()
    batches, source = read(path)
    assert source.run.host is None
    assert set(batches[0].records["comm"].tolist()) == {b"redacted"}
    assert source.run.cgroups[1] is None


def test_what_the_filters_name_is_redacted_too(tmp_path):
    run = builders.run()
    run.filters = ("cgroup=/machine/customer-x", "comm=!secretd", "errno=EPERM")
    path = tmp_path / "r.arrows"
    sink = RecordingWriter(OutputFile.create(path), run, frozenset({"comm", "cgroup"}))
    sink.summary(BOOKS)
    assert read(path)[1].run.filters == ("cgroup=redacted", "comm=redacted", "errno=EPERM")
    assert b"secretd" not in path.read_bytes()


def test_a_recording_is_its_owner_s_alone(tmp_path):
    path = write(tmp_path / "r.arrows")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_full_disk_is_one_sentence():
    with pytest.raises(InetprobeError, match="cannot be written: No space left"):
        write(Path("/dev/full"))


def test_an_empty_run_is_a_recording_too(tmp_path):
    batches, source = read(write(tmp_path / "r.arrows", [Batch(np.zeros(0, RECORD))]))
    assert sum(map(len, batches)) == 0
    assert source.accounting() == BOOKS
