"""Hostile names and numbers through export, query and report, each output read back by a program that is for it."""

import csv
import io
import json
import os
import subprocess

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inetprobe.base import text
from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch, Loss
from tests.commands.test_export import FLAMEGRAPH, slices
from tests.support import builders, recorded, run_command
from tests.support.reported import Elements

PIECES = [
    b"\x1b[31m", b"\x1b]0;x\x07", b"\n", b"\r\n", b"\t", b";", b" 7", b" ", b'"', b"'", b"`", b"\\", b"\\x41", b"%s",
    b"{{1}}",
    b"<script>alert(1)</script>", b"</script>", b"<!--", b"]]>", b"&lt;", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"a,b", b"=1+1", b"/../", b"x" * 40,
    b"\xe3\x85\xa4", b"\xef\xb8\x8f", b"\xd7\x90", b"\xd8\xa7", b"\xd9\xa1",
]  # fmt: skip
NAMES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=5).map(b"".join)
TEXTS = NAMES.map(text.decode)
NUMBERS = st.sampled_from([0, 1, 2**31, 2**32 - 1])
BOOKS = Accounting(entries=15, complete=11, incomplete={"return_missed": 1}, lost={"ring_full": 3})


def write(path, comm=b"x", prot=b"TCP", cgroup="/", *, start=10**9, offset=0, longest=0, number=1, **facts):
    """Every kind of socket under these names; ``facts`` are the run's."""
    records = builders.every_kind()
    records["comm"], records["prot"], records["start_ns"] = comm[:16], prot[:32], start
    for name in ("pid", "tid", "ppid", "uid", "netns", "cpu", "foreign"):
        records[name] = number & (1 << 8 * records[name].itemsize) - 1
    records["calls"]["duration_ns"][:1, 0] += np.uint64(longest)
    run = builders.run()
    run.clock_offset_ns, run.cgroups = offset, {1: cgroup}
    for name, value in facts.items():
        setattr(run, name, value)
    sink = RecordingWriter(OutputFile.create(path), run)
    sink.batch(Batch(records, (Loss("ring_full", 3),)), run)
    sink.summary(BOOKS)
    return records


def all_plain(shown):
    return all(map(text.is_plain, shown))


def refused(done, *sentences):
    """The command ended with one of these sentences, on one line without control characters."""
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1
    assert all_plain(done.stderr.rstrip("\n"))
    assert any(sentence in done.stderr for sentence in sentences), done.stderr


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


hostile = given(
    comm=NAMES, prot=NAMES, cgroup=TEXTS, kernel=TEXTS, host=TEXTS, architecture=TEXTS, number=NUMBERS,
    mechanisms=st.dictionaries(TEXTS, TEXTS, max_size=2),
    filters=st.lists(TEXTS, max_size=2).map(tuple),
)  # fmt: skip
few = settings(max_examples=40)


@hostile
@few
def test_folded_stacks_are_a_line_each_and_their_frames_the_calls(folder, **given_):
    records = write(folder / "f.arrows", **given_)
    for by in ("comm", "pid", "cgroup"):
        done = run_command.run("export", folder / "f.arrows", "-q", "--to", "folded", "--by", by)
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert all(map(all_plain, lines))
        assert {len(line.split(";")) for line in lines} <= {2, 3, 4, 5}
        total = sum(int(line.rpartition(" ")[2]) for line in lines)
        assert total == records["calls"]["duration_ns"][:, 0].sum() + 4000


@hostile
@few
def test_perfetto_s_packets_have_the_names_as_they_are(folder, **given_):
    records = write(folder / "p.arrows", **given_)
    done = run_command.run("export", folder / "p.arrows", "-q", "--to", "perfetto", "-o", folder / "p.pftrace")
    assert done.returncode == 0
    trace, found = slices(folder / "p.pftrace")
    assert len(found) == int(records["ncalls"].sum())
    threads = {
        packet.track_descriptor.thread.thread_name for packet in trace.packet if packet.track_descriptor.thread.tid
    }
    assert threads <= {text.until_nul(comm) for comm in set(records["comm"].tolist())}
    (system,) = [packet.system_info for packet in trace.packet if packet.HasField("system_info")]
    assert (system.utsname.release, system.machine_name) == (given_["kernel"], given_["host"])


@hostile
@example(
    comm=b"a", prot=b"b", cgroup="\r", kernel="", host="", architecture="", mechanisms={}, number=0, filters=()
)  # fmt: skip
@settings(max_examples=12)
def test_parquet_and_query_have_the_names_as_they_are(folder, **given_):
    records = write(folder / "t.arrows", **given_)
    done = run_command.run("export", folder / "t.arrows", "-q", "--to", "parquet", "-o", folder / "t.parquet")
    assert done.returncode == 0
    comms = [text.until_nul(comm) for comm in records["comm"].tolist()]
    wanted = [(comm, given_["cgroup"], given_["number"]) for comm in comms]
    columns = pq.read_table(folder / "t.parquet", columns=["comm", "cgroup", "uid"]).to_pydict()
    assert list(zip(*columns.values(), strict=True)) == wanted
    assert duckdb.sql(f"select comm, cgroup, uid from '{folder}/t.parquet'").fetchall() == wanted
    asked = {}
    for form in ("json", "csv", "table"):
        sql = "select comm, cgroup, uid from traces"
        asked[form] = run_command.run("query", folder / "t.arrows", "-q", "--sql", sql, "--format", form)
        assert asked[form].returncode == 0
    assert [tuple(json.loads(line).values()) for line in asked["json"].stdout.splitlines()] == wanted
    assert all_plain(asked["table"].stdout.replace("\n", ""))
    rows = list(csv.reader(io.StringIO(asked["csv"].stdout, newline="")))[1:]
    assert [(comm, cgroup, int(uid)) for comm, cgroup, uid in rows] == wanted
    (row,) = run_command.run(
        "query", folder / "t.arrows", "-q", "--sql", "from recordings", "--format", "json"
    ).stdout.splitlines()
    assert {name: json.loads(row)[name] for name in ("kernel", "host")} == {n: given_[n] for n in ("kernel", "host")}


@hostile
@settings(max_examples=8)
def test_a_page_has_only_its_own_elements(folder, **given_):
    write(folder / "plain.arrows")
    write(folder / "r.arrows", **given_)
    pages = []
    for name in ("plain", "r"):
        argv = [folder / f"{name}.arrows", "--baseline", folder / "plain.arrows", "-o", folder / "r.html"]
        assert run_command.run("report", "-q", *argv).returncode == 0
        pages.append(Elements((folder / "r.html").read_text()))
    plain, found = pages
    assert found.risky == plain.risky
    assert [attributes for attributes, _ in found.scripts] == [attributes for attributes, _ in plain.scripts]
    assert found.scripts[1:] == plain.scripts[1:]
    json.loads(found.scripts[0][1])
    assert all_plain("".join(found.text).replace("\n", "").replace("\N{NO-BREAK SPACE}", ""))


BEYOND = ("292 years", "1677 to 2262")
times = given(
    start=st.sampled_from([0, 1, 2**53, 2**63 - 10**9, 2**63 - 1, 2**63, 2**64 - 1]),
    offset=st.sampled_from([0, -(2**63), 2**63 - 1, 10**18, -(10**18)]),
    longest=st.sampled_from([0, 2**62, 2**63 - 10**9, 2**63, 2**64 - 10**6]),
)


@times
@settings(max_examples=12)
def test_times_that_a_format_cannot_hold_are_refused(folder, **given_):
    path = folder / "x.arrows"
    write(path, **given_)
    for argv in (
        ["export", path, "--to", "folded"],
        ["export", path, "--to", "perfetto", "-o", folder / "x.pftrace"],
        ["export", path, "--to", "parquet", "-o", folder / "x.parquet"],
        *(["query", path, "--format", "json", "--sql", f"from {table}"] for table in ("traces", "calls", "recordings")),
        ["report", path, "-o", folder / "x.html"],
    ):
        done = run_command.run(*argv, "-q")
        if done.returncode:
            refused(done, *BEYOND)


@pytest.mark.parametrize(("longest", "sum_"), [(2**62, 4 * 2**62 + 36_000), (2**63 - 9000, None)])
def test_folded_stacks_of_centuries_add_up_or_are_refused(tmp_path, longest, sum_):
    records = np.tile(builders.record([builders.call(builders.CREATE, 0, 0, 9000)], comm=b"x"), 4)
    records["calls"]["duration_ns"][:, 0] += np.uint64(longest)
    recorded.write(tmp_path / "r.arrows", records)
    done = run_command.run("export", tmp_path / "r.arrows", "-q", "--to", "folded")
    if sum_ is None:
        refused(done, "a duration of the recording is longer than 292 years")
    else:
        assert done.stdout == f"x;inet_create {sum_}\n"


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1])
def test_counts_that_a_format_cannot_hold(tmp_path, number):
    path = tmp_path / "n.arrows"
    sink = RecordingWriter(OutputFile.create(path), builders.run())
    sink.batch(Batch(builders.every_kind(), (Loss("ring_full", number),) * 2), builders.run())
    sink.summary(Accounting(entries=number, complete=11, lost={"ring_full": number, "other": number}))
    for argv in (
        ["export", path, "--to", "folded"],
        ["export", path, "--to", "perfetto", "-o", tmp_path / "x.pftrace"],
        ["export", path, "--to", "parquet", "-o", f"{tmp_path}/lake/"],
        *(["query", path, "--format", "json", "--sql", f"from {table}"] for table in ("traces", "calls", "recordings")),
        ["report", path, "-o", tmp_path / "x.html"],
    ):
        done = run_command.run(*argv, "-q")
        if done.returncode:
            refused(done, "accounting")
    _, found = slices(tmp_path / "x.pftrace")
    assert len(found) == int(builders.every_kind()["ncalls"].sum())


@pytest.mark.parametrize(
    "piece", [b"a;b", b"\x1b[31m\n", b'<script>"</script>', b"\xe2\x80\xae\xff", b" 7", b"&'`", b""]
)
def test_flamegraph_pl_draws_hostile_names(tmp_path, piece):
    write(tmp_path / "r.arrows", comm=piece, cgroup=text.decode(piece))
    for by in ("comm", "cgroup"):
        folded = run_command.run("export", tmp_path / "r.arrows", "-q", "--to", "folded", "--by", by).stdout
        drawn = subprocess.run(
            ["perl", FLAMEGRAPH, "--minwidth", "0"], input=folded, capture_output=True, text=True, check=True
        )
        assert drawn.stderr == ""
        assert drawn.stdout.count("<script") == 1
        assert "inet_create" in drawn.stdout


def test_no_trace_at_all(tmp_path):
    path = tmp_path / "none.arrows"
    RecordingWriter(OutputFile.create(path), builders.run()).summary(Accounting())
    assert run_command.run("export", path, "-q", "--to", "folded").stdout == ""
    assert run_command.run("export", path, "-q", "--to", "perfetto", "-o", tmp_path / "t").returncode == 0
    assert slices(tmp_path / "t")[1] == []
    assert run_command.run("export", path, "-q", "--to", "parquet", "-o", f"{tmp_path}/lake/").returncode == 0
    counts = [pq.read_table(tmp_path / "lake" / name).num_rows for name in ("traces", "calls", "recordings")]
    assert counts == [0, 0, 1]
    for table, count in (("traces", 0), ("calls", 0), ("recordings", 1)):
        sql = f"select count(*) as n from {table}"
        assert run_command.run("query", path, "--format", "csv", "--sql", sql).stdout == f"n\n{count}\n"
    refused(run_command.run("report", path, "-o", tmp_path / "r.html"), "nothing to report")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("name", [b"\xff\xfe.arrows", b"\x1b[31m\n.arrows", "\u202e;'\"<b>.arrows".encode()])
def test_a_recording_whose_own_name_is_hostile(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    write(path)
    shown = name.decode("utf-8", "backslashreplace")
    for to, out in (("folded", "f"), ("perfetto", "p"), ("parquet", "q"), ("parquet", "lake/")):
        assert run_command.run("export", path, "-q", "--to", to, "-o", f"{tmp_path}/{out}").returncode == 0
    assert pq.read_table(tmp_path / "q")["recording"][0].as_py().endswith(shown)
    (row,) = run_command.run("query", path, "-q", "--format", "json", "--sql", "from recordings").stdout.splitlines()
    assert json.loads(row)["recording"].endswith(shown)
    assert run_command.run("report", path, "-o", tmp_path / "r.html").returncode == 0
    path.write_bytes(path.read_bytes()[:-600])
    for argv in (
        *(["export", path, "--to", to, "-o", tmp_path / "o"] for to in ("folded", "perfetto", "parquet")),
        ["query", path, "--sql", "select 1 from traces"],
        ["report", path, "-o", tmp_path / "r.html"],
    ):
        refused(run_command.run(*argv, "-q"), "cut short")
