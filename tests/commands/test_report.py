"""``report`` as a command, and untrusted text in its page."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.commands.report import page
from inetprobe.record.accounting import Accounting
from tests.support import builders, mixed, recorded, run_command
from tests.support.reported import Elements, rendered

VENDOR = Path(page.__file__).parent / "assets/vendor"
HOSTILE = "</script><script>alert(1)</script>\u2028\u202e<img src=x onerror=alert(2)>\x1b[31m'\"&{{7*7}}"


run = partial(run_command.run, "report")


@pytest.fixture(name="every")
def every_kind(tmp_path):
    return recorded.every_kind(tmp_path / "every.arrows")


def test_nothing_in_a_page_loads_or_runs_but_its_own_scripts(every):
    text = rendered(every)
    found = Elements(text)
    assert found.risky == []
    assert found.tags["script"] == 4
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    data, *scripts = found.scripts
    assert data[0]["type"] == "application/json"
    allowed = re.findall(r"'sha256-([^']*)'", policy)
    assert allowed == [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in scripts]
    assert json.loads(data[1])["timeline"]["bins"]


@pytest.fixture(scope="module", name="plain")
def plain_page(tmp_path_factory):
    return Elements(rendered(hostile(tmp_path_factory.mktemp("plain") / "r.arrows", b"plain", "/plain", b"TCP")))


def hostile(path, comm, cgroup, prot, host="host"):
    records = np.concatenate([builders.every_kind(), builders.created(seq=20, prot=prot)])
    records["comm"] = comm
    records["prot"][records["prot"] != b""] = prot
    run = builders.run()
    run.cgroups, run.host = {1: cgroup}, host
    books = Accounting(entries=13, complete=12, incomplete={"return_missed": 1})
    return recorded.write(path, records, books, run)


@settings(max_examples=20)
@given(
    st.one_of(st.binary(min_size=1, max_size=15), st.just(b"</script><b>")),
    st.one_of(st.text(max_size=60), st.just(HOSTILE)).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.one_of(st.binary(min_size=1, max_size=31), st.just(b"<svg onload=alert(1)>")),
)
def test_untrusted_names_are_never_markup(tmp_path_factory, plain, comm, cgroup, prot):
    text = rendered(hostile(tmp_path_factory.mktemp("hostile") / "r.arrows", comm, cgroup, prot, host=cgroup))
    found = Elements(text)
    assert found.risky == []
    assert found.tags["script"] == 4
    assert found.tags.keys() <= plain.tags.keys() | {"small"}
    assert not re.search("[\u2028\u202a-\u202e\u2066-\u2069\x1b\x00]", text)


def test_hostile_names_are_readable(tmp_path):
    path = hostile(tmp_path / "r.arrows", b"<b>&\x1b[1m", HOSTILE, b"<i>TCP")
    text = "".join(Elements(rendered(path)).text)
    assert "<b>&\\x1b[1m" in text
    assert "</script><script>alert(1)</script>\\u2028\\u202e<img" in text
    assert "{{7*7}}" in text


def test_the_libraries_match_their_digests():
    named = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "SHA256SUMS").read_text(), re.MULTILINE))
    assert {name: digest for digest, name in named.items()} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.suffix == ".js"
    }


# The command.


def test_a_page_is_written_and_reported(every, tmp_path):
    done = run(every, "-o", tmp_path / "r.html")
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"inetprobe: {tmp_path}/r.html: 10 sockets, 0.")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("output", [(), ("-o", "-")])
def test_without_an_output_the_page_goes_to_stdout(every, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(every, *output)
    assert not list(tmp_path.glob("-"))
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("</html>")
    assert done.stderr == ""


def test_a_page_is_refused_on_a_terminal(every):
    leader, follower = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "inetprobe", "report", every], stdout=follower, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 2
    assert b"give -o report.html" in done.stderr


def test_a_cut_recording_is_shown_up_to_there(every, tmp_path):
    mixed.make(tmp_path / "whole.arrows", 48_000, rows=4096)
    data = (tmp_path / "whole.arrows").read_bytes()
    short = tmp_path / "short.arrows"
    short.write_bytes(data[: len(data) // 2])
    done = run(short, "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    [said] = re.findall(r"is cut short after [1-9][\d,]* sockets", done.stderr)
    text = "".join(Elements((tmp_path / "r.html").read_text()).text)
    assert "Not whole." in text
    assert said in text
    assert "Nothing was lost" not in text


def test_a_recording_cut_before_its_first_socket_makes_no_page(every, tmp_path):
    short = tmp_path / "short.arrows"
    short.write_bytes(every.read_bytes()[:-8000])
    done = run(short, "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert "is cut short after 0 sockets" in done.stderr
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("content", [b"", b"no recording", None])
def test_a_file_that_is_not_a_recording_makes_no_page(tmp_path, content):
    path = tmp_path / "bad.arrows"
    if content is not None:
        path.write_bytes(content)
    done = run(path, "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_nothing_to_report_is_an_error(every, tmp_path):
    done = run(every, "--comm", "nobody", "-o", tmp_path / "r.html")
    assert done.returncode == 4
    assert "no socket that passes the filters: there is nothing to report" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_page_that_cannot_be_written(every, tmp_path):
    for place, why in ((tmp_path, "it is a folder"), (tmp_path / "no" / "r.html", "there is no folder")):
        done = run(every, "-o", place)
        assert done.returncode == 125
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    done = run(every, "-o", "/dev/full")
    assert done.returncode == 125
    assert "/dev/full cannot be written: No space left on device" in done.stderr
    assert "-o names an input file" in run(every, "-o", every).stderr


def test_a_baseline_is_compared(tmp_path):
    before, after = recorded.timed(tmp_path / "a.arrows", 1.0), recorded.timed(tmp_path / "b.arrows", 2.0, seed=3)
    done = run(after, "--baseline", before, "-o", tmp_path / "r.html")
    assert done.returncode == 0
    found = Elements((tmp_path / "r.html").read_text())
    text = "".join(found.text)
    assert "What changed since the baseline" in text
    assert "slower ×" in text
    charts = json.loads(found.scripts[0][1])
    assert charts["timeline-before"]["bins"]
    assert charts["function-0"]["before"]


def test_each_of_several_recordings_is_compared_with_the_baseline(tmp_path):
    before = recorded.timed(tmp_path / "before.arrows")
    other = replace(builders.run(), kernel="6.12.0", mechanisms={"inet_create": "fentry"}, filters=("failed",))
    odd = recorded.write(tmp_path / "odd.arrows", builders.created(prot=b"TCP"), run=other)
    after = recorded.timed(tmp_path / "after.arrows", seed=2)
    for recordings in ([after, odd], [odd, after]):
        assert run(*recordings, "--baseline", before, "-o", tmp_path / "r.html").returncode == 0
        text = " ".join("".join(Elements((tmp_path / "r.html").read_text()).text).split())
        assert "not recorded alike: kernel 6.1.0-test before" in text
        assert (
            "different mechanisms of the probes in 1 of 2 recordings, different filters when recorded in 1 of 2" in text
        )
    assert run(after, after, "--baseline", before, "-o", tmp_path / "r.html").returncode == 0
    assert "not recorded alike" not in (tmp_path / "r.html").read_text()


def test_report_imports_no_bcc_and_other_commands_no_page(every, tmp_path):
    program = "import sys; sys.argv = ['inetprobe', *sys.argv[2:]]\nfrom inetprobe.cli.main import main\n" \
        "try: main()\nexcept SystemExit as e: assert not e.code, e.code\n" \
        "found = {'bcc', 'jinja2'} & sys.modules.keys()\nassert str(sorted(found)) == WANTED, found"  # fmt: skip
    for wanted, argv in ((["jinja2"], ["report", every, "-o", tmp_path / "r"]), ([], ["replay", every])):
        code = program.replace("WANTED", repr(str(wanted)))
        done = subprocess.run([sys.executable, "-c", code, "-", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
