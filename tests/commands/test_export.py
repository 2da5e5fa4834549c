"""Exports, read back by the tools for which they are made."""

import json
import subprocess
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from inetprobe.base.errors import EXIT_FAILED, EXIT_RECORDING, EXIT_USAGE
from inetprobe.commands.export import packets
from inetprobe.record.batch import Batch
from inetprobe.record.stacks import Side, Stack
from inetprobe.trace.call_trace import call_traces
from inetprobe.trace.output.json_lines import to_dict
from tests.support import builders, recorded, run_command

FLAMEGRAPH = Path("/usr/share/perl5/Devel/NYTProf/flamegraph.pl")


export = partial(run_command.run, "export")


@pytest.fixture
def recording(tmp_path):
    return recorded.every_kind(tmp_path / "kinds.arrows")


def test_folded_times_add_up_to_the_sockets(recording):
    _, out, _ = export(recording, "--to", "folded")
    total = sum(int(line.rpartition(" ")[2]) for line in out.splitlines())
    seen = builders.every_kind()["calls"]["duration_ns"][:, 0].sum()
    assert total == seen + 4000  # of the one whose return was missed, the call within was seen


def test_callers_come_before_the_called_function(tmp_path):
    run = builders.run()
    run.stack = True
    users = Side(("__socket+0x7 (libc.so.6)", "a+0x1;(x+0x2 (b"))
    stack = Stack(Side(("__sock_create+0x107", "f+0x1 [mptcp]")), users)
    records = builders.with_stack(np.tile(builders.created(prot=b"TCP"), 3), run.stacks, stack, None, stack)
    _, out, _ = export(recorded.write(tmp_path / "r.arrows", records, run=run), "--to", "folded")
    plain = "python3;inet_create"
    callers = r"python3;a+0x1\x3b(x (b;__socket (libc.so.6);f [mptcp];__sock_create;inet_create"
    assert out.splitlines() == [
        f"{callers} 10000", f"{callers};sk_alloc 4000", f"{callers};sk_alloc;sk_prot_alloc 4000",
        f"{plain} 5000", f"{plain};sk_alloc 2000", f"{plain};sk_alloc;sk_prot_alloc 2000",
    ]  # fmt: skip


def test_flamegraph_pl_draws_the_stacks(recording):
    _, out, _ = export(recording, "--to", "folded")
    drawn = subprocess.run(
        ["perl", FLAMEGRAPH, "--minwidth", "0"], input=out, capture_output=True, text=True, check=True
    )
    assert "sk_prot_alloc" in drawn.stdout
    assert drawn.stderr == ""


def test_a_name_cannot_end_its_frame_or_line(tmp_path):
    odd = builders.created(prot=b"TCP", comm=b"a;b 7\nc")
    _, out, _ = export(recorded.write(tmp_path / "r.arrows", odd), "--to", "folded")
    assert {line.split(";")[0] for line in out.splitlines()} == {r"a\x3bb 7\x0ac"}


def slices(path):
    """(track uuid, name, depth, start, end) of every slice, by walking the packets as a viewer does."""
    trace = pb.Trace.FromString(path.read_bytes())
    names, found, opened = {}, [], {}
    for packet in trace.packet:
        if packet.sequence_flags & pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
            names = {}
        names |= {entry.iid: entry.name for entry in packet.interned_data.event_names}
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        stack = opened.setdefault(event.track_uuid, [])
        if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
            assert not stack or stack[-1][1] <= packet.timestamp
            stack.append((names[event.name_iid], packet.timestamp))
        elif event.type == pb.TrackEvent.TYPE_SLICE_END:
            name, start = stack.pop()
            found.append((event.track_uuid, name, len(stack), start, packet.timestamp))
    assert not any(opened.values())
    return trace, found


def test_perfetto_slices_nest_as_the_calls_do(tmp_path):
    records = np.concatenate([builders.created(prot=b"TCP", seq=n, start=n * 10**6) for n in range(1, 4)])
    out = tmp_path / "t.pftrace"
    export(recorded.write(tmp_path / "r.arrows", records), "--to", "perfetto", "-o", out)
    trace, found = slices(out)
    assert [(name, depth, end - start) for _, name, depth, start, end in found[:3]] == [
        ("sk_prot_alloc", 2, 2000),
        ("sk_alloc", 1, 4000),
        ("inet_create", 0, 9000),
    ]
    assert len(found) == 9
    (clocks,) = [packet.clock_snapshot for packet in trace.packet if packet.HasField("clock_snapshot")]
    assert {clock.clock_id: clock.timestamp for clock in clocks.clocks} == {6: 10**6, 1: 10**6 + 1_700_000_000 * 10**9}


def test_perfetto_accepts_every_kind(tmp_path, recording):
    out = tmp_path / "t.pftrace"
    assert export(recording, "--to", "perfetto", "-o", out)[0] == 0
    _, found = slices(out)
    assert len(found) == int(builders.every_kind()["ncalls"].sum())


def test_perfetto_strings_are_dropped_once_there_are_many(tmp_path, monkeypatch):
    records = np.tile(builders.created(prot=b"TCP"), 30)
    records["seq"], records["uid"] = np.arange(30), np.arange(30)
    recording, sizes = recorded.write(tmp_path / "r.arrows", records), []
    for most in (1 << 14, 20):
        monkeypatch.setattr(packets, "_MOST_KEPT", most)
        assert export(recording, "--to", "perfetto", "-o", tmp_path / "t.pftrace")[0] == 0
        trace, found = slices(tmp_path / "t.pftrace")
        assert [name for _, name, *_ in found] == ["sk_prot_alloc", "sk_alloc", "inet_create"] * 30
        sizes.append(len(trace.SerializeToString()))
    assert sizes[1] > sizes[0]


def test_parquet_is_read_by_duckdb_and_pyarrow(tmp_path, recording):
    out = tmp_path / "t.parquet"
    assert export(recording, "--to", "parquet", "-o", out)[0] == 0
    schema = pq.read_schema(out)
    assert schema.field("time").type == pa.timestamp("us", tz="UTC")
    assert schema.field("comm").type == pa.utf8()
    assert json.loads(pq.read_metadata(out).metadata[b"inetprobe"])["kernel"] == "6.1.0-test"
    assert duckdb.sql(f"select count(*), max(len(calls)) from '{out}'").fetchall() == [(12, 6)]


def test_the_rows_of_system_calls_are_their_json(tmp_path):
    """Each descriptor is the record's own, though one shape stands for many."""
    calls = np.concatenate([builders.every_syscall(), builders.every_syscall()[:1]])
    calls["descriptor"][-1], calls["seq"][-1] = 77, 99
    file, out = recorded.write(tmp_path / "calls.arrows", calls), tmp_path / "calls.parquet"
    assert export(file, "--to", "parquet", "-o", out)[0] == 0
    rows = pq.read_table(out).to_pylist()
    traces = [to_dict(trace, builders.run()) for trace in call_traces(Batch(calls), builders.run())]
    assert rows[-1]["calls"][0]["result"] == 77
    for row, trace in zip(rows, traces, strict=True):
        for name in ("syscall", "family", "type", "protocol_name", "errno", "stage", "rule", "reason", "fix"):
            assert row[name] == trace[name], name
        assert [(call["function"], call["result"]) for call in row["calls"]] == [
            (call["function"], call["result"]) for call in trace["calls"]
        ]


def test_a_folder_takes_two_recordings_but_not_two_of_one_name(tmp_path, recording):
    lake = tmp_path / "lake"
    for name in ("a", "b"):
        assert export(recorded.fine(tmp_path / f"{name}.arrows"), "--to", "parquet", "-o", f"{lake}/")[0] == 0
    assert duckdb.sql(f"select count(*) from '{lake}/traces/*.parquet'").fetchall() == [(6,)]
    (tmp_path / "other").mkdir()
    status, _, error = export(recorded.fine(tmp_path / "other/a.arrows"), "--to", "parquet", "-o", lake)
    assert status == EXIT_USAGE
    assert "another recording" in error


@pytest.mark.parametrize("form", ["perfetto", "folded", "parquet"])
def test_a_failed_write_is_one_sentence_and_leaves_no_file(form, tmp_path, recording):
    assert export(recording, "--to", form, "-o", tmp_path / "nowhere/x")[0] == EXIT_FAILED
    status, _, error = export(recording, "--to", form, "-o", "/dev/full")
    assert (status, "No space left" in error) == (EXIT_FAILED, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [recording.name]


@pytest.mark.parametrize("form", ["perfetto", "folded", "parquet"])
def test_a_cut_recording_is_exported_up_to_there_and_reported(form, tmp_path, recording):
    cut = tmp_path / "cut.arrows"
    cut.write_bytes(recording.read_bytes()[:-700])
    out = tmp_path / "out"
    status, _, error = export(cut, "--to", form, "-o", out)
    assert status == EXIT_RECORDING
    assert f"{out} contains the part before that" in error
    if form == "folded":
        assert b"sk_alloc" in out.read_bytes()
    else:
        assert b"cut short" in out.read_bytes()
