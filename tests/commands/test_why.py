"""`why` over a source without a kernel: what it prints, where, and what it keeps."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from inetprobe.commands import why
from inetprobe.record.accounting import Accounting
from inetprobe.record.filter import Filters
from inetprobe.trace.pump import pump
from tests.support import builders
from tests.support.once import Once


def said(records, form="text"):
    out = io.StringIO()
    pump(Once(records), Filters(), [why.WhySink(out, form, lambda pid: f"process {pid} holds all")])
    return out.getvalue()


def test_each_distinct_failure_is_said_once_the_most_frequent_first():
    calls = np.concatenate([builders.every_syscall(), np.tile(builders.every_syscall()[4:5], 3)])
    blocks = said(calls).split("\n\n")[:-1]
    heads = [block.splitlines()[0] for block in blocks]
    assert heads[0] == "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = -1 EMFILE  (4 times)"
    assert len(heads) == len(set(heads)) == 11  # not the four that succeeded
    assert blocks[0].splitlines()[1:3] == [
        "  by python3 pid 100",
        "  why: the process has as many descriptors as RLIMIT_NOFILE allows",
    ]
    assert "socketpair(AF_UNIX, SOCK_STREAM, 0) = -1 EMFILE" in heads


def test_what_a_process_holds_is_evidence_of_its_own():
    pair, other = builders.every_syscall()[4:5], builders.every_syscall()[4:5]
    other["pid"] = 200
    evidence = json.loads(said(np.concatenate([pair, other]), "json"))["evidence"]
    assert evidence == [
        "inet_create had made the sock, which the kernel then took back",
        "RLIMIT_NOFILE was 1,024",
        "process 100 holds all",
        "process 200 holds all",
    ]
    assert "holds all" not in said(builders.every_syscall()[5:6])


def test_the_descriptors_of_few_processes_are_counted(monkeypatch):
    monkeypatch.setattr(why, "_MOST_HELD", 1)
    calls = np.tile(builders.every_syscall()[4:5], 2)
    calls["pid"] = 1, 2
    lines = said(calls).splitlines()
    assert "  evidence: process 1 holds all" in lines
    assert "  evidence: the descriptors of process 2 were not counted, after 1 others" in lines


def test_whose_filter_refused_is_said_by_the_cgroup():
    records = builders.refused_by_seccomp(97, family=10)
    source = Once(records)
    source.run = builders.with_seccomp()
    source.run.cgroups[1] = "/system.slice/web.service"
    out = io.StringIO()
    pump(source, Filters(), [why.WhySink(out, "json", str)])
    answer = json.loads(out.getvalue())
    assert answer["evidence"] == [
        "the process is in web.service: most likely its RestrictAddressFamilies=, which answers so"
    ]
    assert answer["fix"][-1] == {
        "do": "systemctl edit web.service, and allow it in [Service] RestrictAddressFamilies=", "effect": "widens",
    }  # fmt: skip
    assert answer["who"][0]["unit"] == "web.service"


def test_nothing_is_said_of_what_succeeds():
    assert said(builders.every_syscall()[[0, 13, 14]]) == ""
    assert said(np.zeros(0, builders.RECORD)) == ""


def test_json_has_the_contract_s_keys():
    calls = np.tile(builders.every_syscall()[4:5], 2)
    (line,) = said(calls, "json").splitlines()
    answer = json.loads(line)
    assert list(answer) == [
        "v", "kind", "call", "count", "family", "type", "protocol", "errno", "stage", "rule", "reason", "evidence",
        "fix", "who",
    ]  # fmt: skip
    assert (answer["kind"], answer["count"], answer["errno"], answer["stage"]) == ("why", 2, "EMFILE", "descriptor")
    assert answer["who"] == [{"pid": 100, "comm": "python3", "unit": None}]


def test_many_processes_are_counted_and_a_few_are_named():
    calls = np.tile(builders.every_syscall()[4:5], 9)
    calls["pid"] = np.arange(9)
    assert ", python3 pid 4, and 4 calls by others\n" in said(calls)


def test_strangers_cannot_make_it_keep_more_than_it_has_room_for(monkeypatch):
    monkeypatch.setattr(why, "_MOST_CALLS", 3)
    calls = np.tile(builders.every_syscall()[7:8], 10)
    calls["asked_family"] = calls["family"] = np.arange(100, 110)
    assert said(calls).endswith("7 calls failed in other ways: only the first 3 are kept apart\n")
    assert json.loads(said(calls, "json").splitlines()[-1]) == {
        "v": 1, "kind": "lost", "reason": "too_many", "count": 7,
    }  # fmt: skip


def test_a_hostile_name_cannot_touch_the_terminal():
    calls = builders.every_syscall()[4:5]
    calls["comm"] = b"a\x1b[31m\n"
    assert "\x1b" not in said(calls)
    assert "by a\\x1b[31m\\x0a pid" in said(calls)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_text_is_not_in_command_s_stdout(tmp_path, form):
    command = [sys.executable, "-m", "tests.support.after_drop", tmp_path / "late", "why", "-v", "--format", form]
    done = subprocess.run(
        [*command, "--", "sh", "-c", "echo out; exit 3"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "out"
    shown = done.stderr if form == "text" else done.stdout
    assert "EPROTONOSUPPORT" in shown
    assert (len(lines) > 1) == (form == "json")
    assert "tracing" not in done.stderr
    assert "system calls: 0" in done.stderr  # the stand-in counts none; -v shows it
    assert (tmp_path / "late").read_text() == ""


def test_what_was_not_seen_whole_is_said():
    """The stand-in's records have one whose return was missed."""
    assert not Accounting(incomplete={"return_missed": 1}).is_whole()
    assert not Accounting(calls={"returned": 1, "not_told": 1}).is_whole()
    assert not Accounting(calls={"creates": 1}).is_whole()
    assert not Accounting(lost={"ring_full": 1}, entries=1).is_whole()
    assert Accounting(entries=1, complete=1, calls={"returned": 1, "ok": 1}).is_whole()
