"""`make test-systems`: what it makes of the tests' reports, and its page. The systems themselves are `make test`'s."""

import json
import re
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT
from tools import systems
from tools.systems import LIVE, Outcome, System

REPORT = """
<testsuite>
<testcase classname="tests.live.test_known" name="test_a[kprobe]" />
<testcase classname="tests.live.test_known" name="test_b[kprobe]" />
<testcase classname="tests.live.test_known" name="test_a[fentry]">
  <failure message="assert 1 == 2&#10; where">x</failure>
</testcase>
<testcase classname="tests.live.test_known" name="test_b[fentry]"><error message="setup">x</error></testcase>
<testcase classname="tests.live.test_hard" name="test_also_splits_the_time[fentry]" />
<testcase classname="tests.live.test_hard" name="test_ctrl_c[1]" />
<testcase classname="tests.live.test_hard" name="test_away"><skipped message="no">x</skipped></testcase>
</testsuite>"""


def test_a_report_becomes_rows():
    assert systems.outcomes(ElementTree.fromstring(REPORT).iter("testcase")) == [
        Outcome(systems.KNOWN, "kprobe", 2),
        Outcome(systems.KNOWN, "fentry", 2, "test_a[fentry]: assert 1 == 2; test_b[fentry]: setup"),
        Outcome("`--also`", "fentry", 1),
        Outcome("the hard cases", systems.UNSAID, 1),
    ]


def test_the_rows_are_live_tests():
    for file, part in LIVE.values():
        assert re.search(rf"^def test_.*{part.removeprefix('test_')}", (ROOT / "tests/live" / file).read_text(), re.M)
    assert (ROOT / systems.FROM_A_CHECKOUT.partition("::")[0]).exists()


def test_a_failure_has_a_reason():
    assert systems.reason(0, "E: no") == ""
    assert systems.reason(2, "fine\nE: no such package\nmore\n") == "status 2: E: no such package"
    assert systems.reason(1, "") == "status 1: it printed nothing"
    assert len(systems.reason(1, "error " * 200)) == 300


def test_tracing_needs_bcc_s_library():
    assert "libbpfcc" in systems.packages("trace")


def test_the_lock_s_versions_are_constraints():
    versions = [Requirement(line) for line in systems.locked_versions().splitlines()]
    assert len(versions) > 50
    assert all(len(version.specifier) == 1 and not version.extras for version in versions)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INETPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(systems, "BUILD", tmp_path / "build")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.setattr(systems.apt_sources, "read", lambda: [MIRROR])
    return tmp_path


MIRROR = systems.apt_sources.AptSource("http://mirror.example/debian", ("trixie",), ("main",))


def mmdebstrap(folder, script):
    program = folder / "bin/mmdebstrap"
    program.write_text(f"#!/bin/sh\nfor last; do :; done; [ $last = {MIRROR.uri} ] || exit 9\n{script}\n")
    program.chmod(0o755)


def make(suite="trixie"):
    system = System(suite)
    with system.locked():
        system.make()


def test_a_root_is_made_once_from_the_system_s_own_mirror(folder):
    mmdebstrap(folder, 'for word; do case $word in */root) mkdir "$word"; echo made; esac; done')
    make()
    assert [path.name for path in (folder / "cache/systems").iterdir() if path.name[0] != "."] == ["trixie"]
    mmdebstrap(folder, "exit 1")
    make()


def test_a_root_that_could_not_be_made_is_not_there(folder):
    mmdebstrap(folder, 'for word; do case $word in */root) mkdir "$word"; esac; done; exit 1')
    with pytest.raises(SystemExit, match="mmdebstrap failed"):
        make()
    assert not (folder / "cache/systems/trixie").exists()


def test_results_stay_until_they_are_there_again(folder):
    (folder / "build").mkdir()
    systems.keep("sid", [Outcome("a", "kprobe", 1, "no"), Outcome("a", "fentry", 1), Outcome("b", "", 1)], {"bcc": "1"})
    systems.keep("sid", [Outcome("a", "kprobe", 2)], {})
    kept = json.loads((folder / "build/sid.json").read_text())
    assert [(row["title"], row["mechanism"], row["tests"]) for row in kept["rows"]] == [
        ("b", "", 1),
        ("a", "kprobe", 2),
    ]
    assert kept["versions"] == {"bcc": "1"}


PAGE = """
| | Debian 13 | Debian sid |
| --- | --- | --- |
| bcc | 0.31 | 0.37 |

| what ran | mechanism | Debian 13 | Debian sid |
| --- | --- | --- | --- |
| a | kprobe | passed | **failed** |
| b |  | passed (2 tests) | not run |

## What failed

- Debian sid, a, kprobe: `no 'x'`
"""


def test_the_page():
    def kept(version, *rows):
        return {"versions": {"bcc": version}, "rows": [vars(row) for row in rows]}

    trixie = kept("0.31", Outcome("a", "kprobe", 1), Outcome("b", "", 2))
    page = systems.page({"trixie": trixie, "sid": kept("0.37", Outcome("a", "kprobe", 1, "no `x`"))})
    assert page == systems.INTRODUCTION + PAGE


def test_the_page_in_docs_is_of_this_form():
    assert systems.PAGE.read_text().startswith(systems.INTRODUCTION)
