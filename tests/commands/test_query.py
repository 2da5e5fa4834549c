"""SQL over real recordings through the command, as a user runs it."""

import csv
import io
import json
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from inetprobe.base.errors import EXIT_RECORDING, EXIT_USAGE
from inetprobe.commands.query.questions import questions
from inetprobe.record.accounting import Accounting
from tests.support import builders, recorded, run_command

run = partial(run_command.run, "query")


def rows(*argv):
    status, out, err = run(*argv, "--format", "json")
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def recording(tmp_path):
    return recorded.every_kind(tmp_path / "kinds.arrows")


@pytest.mark.parametrize("name", questions())
def test_every_ready_question_has_an_answer(name, recording, tmp_path):
    assert rows(recording, recorded.called(tmp_path / "called.arrows"), "--ask", name)


def test_callers_are_grouped_by_the_whole_stack(tmp_path):
    found = rows(recorded.called(tmp_path / "called.arrows"), "--ask", "callers")
    assert [(row["sockets"], row["callers"]) for row in found] == [
        (3, ["socket+0x7 (libc.so.6)", "culprit\u202e+0x18 (a.out)"]),
        (1, []),
    ]


@pytest.mark.parametrize("name", ["slowest", "failures", "latency"])
def test_a_protocol_without_a_name_is_its_number(name, recording):
    assert {"200", "IPPROTO_ICMP"} <= {row["protocol"] for row in rows(recording, "--ask", name)}


def test_the_page_has_every_question():
    assert len(questions()) == Path("docs/queries.md").read_text().count("```sql")


@pytest.mark.parametrize("made", [recorded.every_kind, recorded.called])
def test_rows_are_what_replay_prints(made, tmp_path):
    recording = made(tmp_path / "r.arrows")
    replayed = run_command.run("replay", recording, "--format", "json").stdout.splitlines()
    lines = [line for line in map(json.loads, replayed) if line["kind"] == "trace"]
    found = rows(recording, "--sql", "select * from traces")
    assert len(found) == len(lines)
    for line, row in zip(lines, found, strict=True):
        assert row["recording"] == str(recording)
        assert row["time_ns"] == row["mono_ns"] + 1_700_000_000 * 10**9
        for key in line.keys() - {"v", "kind", "time"}:
            assert without_nulls(row[key]) == without_nulls(line[key]), key


def without_nulls(value):
    """Drops empty keys: a row has all of them, JSON only those with a value."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return list(map(without_nulls, value)) if isinstance(value, list) else value


def test_a_table_may_be_scanned_twice_and_over_several_files(tmp_path, recording):
    other = recorded.fine(tmp_path / "fine.arrows", 5)
    sql = "select count(*) as n from traces a join traces b on a.recording = b.recording and a.mono_ns <= b.mono_ns"
    assert rows(recording, other, "--sql", sql) == [{"n": 12 * 12 + 5 * 5}]


def test_self_time_is_duration_less_children(recording):
    sql = "select sum(self_ns) as own from calls where trace_id = '1-6'"
    assert rows(recording, "--sql", sql) == [{"own": 90_000}]


def test_containers_come_from_the_cgroup(tmp_path):
    run_of = builders.run()
    identity = "a" * 64
    run_of.cgroups = {1: f"/system.slice/docker-{identity}.scope"}
    path = recorded.write(tmp_path / "r.arrows", builders.every_kind(), recorded.EVERY_KIND, run_of)
    assert rows(path, "--ask", "by-container")[0]["container"] == identity


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("selec 1", "syntax error"),
        ("select nothing from traces", "nothing"),
        ("select comm::int from traces", "Could not convert"),
        ("", "empty"),
    ],
)
def test_a_wrong_query_is_one_sentence(sql, word, recording):
    status, _, error = run(recording, "--sql", sql)
    assert status == EXIT_USAGE
    assert word in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "sql",
    [
        "copy traces to 'stolen.csv'",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "attach 'other.db'",
        "install httpfs",
        "set enable_external_access = true",
        "set threads = 1",
        "call enable_logging(storage='file', storage_config={'path': 'logged'}); select 1",
    ],
)
def test_a_query_can_read_only_the_recordings(sql, recording, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(recording, "--sql", sql)[0] == EXIT_USAGE
    assert list(tmp_path.iterdir()) == [recording]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("value", ["'290000-01-01'::date", "'infinity'::timestamp", "'0044-03-15 (BC)'::date"])
def test_a_time_that_python_does_not_have_is_one_sentence(value, form, recording):
    status, _, error = run(recording, "--sql", f"select {value}", "--format", form)
    assert status == EXIT_USAGE
    assert "cast it to varchar" in error
    assert error.count("\n") == 1


def test_hostile_names_do_not_touch_the_terminal(recording):
    _, out, _ = run(recording, "--sql", "select comm from traces")
    assert r"\x1b" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("comm", ["=1+1|x", "+1", "-bash", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_name_that_is_a_formula_to_a_spreadsheet_is_kept_and_reported(tmp_path, comm):
    records = builders.every_kind()
    records["comm"][0] = comm.encode()
    path = recorded.write(tmp_path / "r.arrows", records)
    for argv in ((), ("-q",)):
        status, out, error = run(path, "--sql", "select comm, -cpu as n, errno from traces", "--format", "csv", *argv)
        assert status == 0
        assert comm in [row[0] for row in csv.reader(io.StringIO(out, newline=""))]
        if argv:
            assert error == ""
        else:
            assert error.startswith("inetprobe: a spreadsheet takes text in comm for formulas, such as ")
            assert error.endswith(": import the CSV with every column as text\n")
    assert run(path, "--sql", "select comm from traces", "--format", "json").stderr == ""


def test_where_no_name_is_a_formula_nothing_is_said(recording):
    sql = "select -cpu as number, family_name, interval (-1) day as past, [-1] as list from traces"
    assert run(recording, "--sql", sql, "--format", "csv").stderr == ""


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_closed_pipe_ends_the_command_quietly(recording, form):
    many = "select * from traces, range(20000)"
    line = shlex.join([sys.executable, "-m", "inetprobe", "query", str(recording), "--sql", many, "--format", form])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{line} | head -n 1"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cut_recording_is_answered_up_to_there_with_status_4(tmp_path, recording):
    cut = tmp_path / "cut.arrows"
    cut.write_bytes(recording.read_bytes()[:-700])
    status, out, error = run(cut, "--sql", "select count(*) as n from traces", "--format", "csv")
    assert (status, out) == (EXIT_RECORDING, "n\n12\n")
    assert "cut short" in error
    (row,) = [json.loads(run(cut, "--sql", "select * from recordings", "--format", "json")[1])]
    assert "cut short" in row["problem"]


def test_losses_are_reported(tmp_path):
    books = Accounting(entries=15, complete=12, lost={"ring_full": 3})
    path = recorded.write(tmp_path / "r.arrows", np.tile(builders.created(prot=b"TCP"), 12), books)
    _, _, error = run(path, "--sql", "select count(*) from traces")
    assert "lost 3 sockets (ring_full 3)" in error
    assert rows(path, "--sql", "select lost, lost_by_reason from recordings") == [
        {"lost": 3, "lost_by_reason": '{"ring_full": 3}'}
    ]
