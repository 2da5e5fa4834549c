from pathlib import Path

import numpy as np
import pytest

from inetprobe.kernel import attached as attached_module
from inetprobe.kernel.backlog import MAX_WAITING, STEP
from inetprobe.kernel.counting import CountingSource
from inetprobe.kernel.host.kallsyms import PATH, Symbols
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.source import LiveSource
from inetprobe.record.batch import Batch
from inetprobe.record.layout import RECORD
from tests.support import attached as support


class Ring:
    """A ring that has one record at each drain, and keeps a list of its calls."""

    def __init__(self, much=False):
        self.much, self.heard = much, []

    def wait(self, timeout_s):
        self.heard.append(timeout_s)

    def drain(self):
        self.heard.append("drain")
        return np.zeros(1, RECORD)


def attached(ring, waiting=0):
    result = support.attached(support.program(ring.drain, ring=ring))
    result.backlog.put(Batch(np.zeros(waiting, RECORD)))
    return result


def test_a_full_backlog_leaves_the_rest_in_the_ring():
    ring = Ring(much=True)
    assert len(attached(ring, waiting=MAX_WAITING).next(0)) == STEP
    assert ring.heard == []


@pytest.mark.parametrize("much", [False, True])
def test_while_records_wait_the_ring_is_drained_only_once_it_holds_much(much):
    ring = Ring(much)
    assert len(attached(ring, waiting=1).next(0.1)) == 1
    assert ring.heard == ["drain"] * much


def test_with_an_empty_backlog_it_waits_for_the_ring_and_drains_it():
    ring = Ring()
    assert len(attached(ring).next(0.1)) == 1
    assert ring.heard == [0.1, "drain"]


def test_the_cgroups_of_months_are_not_kept(monkeypatch):
    """B6: a cgroup for each socket, as pods come and go."""
    monkeypatch.setattr(attached_module, "_MOST_CGROUPS", 50)
    number = iter(range(1, 1000))

    def drain():
        records = np.zeros(20, RECORD)
        records["cgroup_id"] = [next(number) for _ in range(20)]
        return records

    ring = Ring()
    ring.drain = drain
    source = attached(ring)
    for _ in range(40):
        batch = source.next(0)
        assert set(batch.records["cgroup_id"].tolist()) <= source.run.cgroups.keys()
        assert len(source.run.cgroups) <= 70


def test_calls_that_no_trace_has_are_waited_for_as_well():
    ring, looks = Ring(), []
    program = support.program(ring.drain, ring=ring)
    program.counters.calls = lambda: {"returned": 3, "ok": 1 + min(len(looks), 2)}
    for batch in support.attached(program).let_traces_end():
        looks.append(len(batch))
    assert len(looks) == 2


@pytest.mark.parametrize("source_of", [LiveSource, lambda attached: CountingSource(attached, Counting((500,)), print)])
def test_the_last_look_at_the_ring_is_after_a_grace_period(monkeypatch, source_of):
    """A program that runs when its probe is detached still sends its record."""
    ring, heard = Ring(), []
    ring.heard, ring.wake = heard, list
    monkeypatch.setattr(attached_module.rcu, "synchronize", lambda: heard.append("grace period"))
    source = source_of(support.attached(support.program(ring.drain, heard.append, ring=ring, mechanisms={})))
    source.start()
    source.stop()
    for _ in source.batches():
        pass
    assert heard == ["activate", "deactivate", "detach", "grace period", "drain"]


@pytest.mark.parametrize(
    ("absent", "instead", "said"),
    [
        ([], [], []),
        (["sk_prot_alloc"], [], ["sk_prot_alloc"]),
        (["sk_prot_alloc"], ["sk_prot_alloc.isra.0"], ["sk_prot_alloc"]),
        (["inet_create"], ["inet_create.part.0.constprop.0"], ["inet_create"]),
        (["inet6_create"], ["inet6_create.part.0"], ["inet6_create"]),
        (["inet6_create", "__request_module"], [], []),
    ],
)
def test_functions_that_the_compiler_took_away_are_said_at_the_start(absent, instead, said):
    symbols, lines = Symbols([*(name for name in PATH if name not in absent), *instead]), []
    attached_module._say_limits(Target(symbols, {}, {}, (), {}), lines.append)
    assert lines == [symbols.limits()[name] for name in said]


def test_the_killed_that_are_not_seen_are_said_at_the_start():
    lines = []
    attached_module._say_limits(Target(Symbols(PATH), {}, {}, (), {}, unseen_kills="not seen"), lines.append)
    assert lines == ["not seen"]


def test_leftovers_stay_where_tracefs_cannot_be_written(monkeypatch):
    monkeypatch.setattr(attached_module.tracefs, "writable", lambda: None)
    monkeypatch.setattr(attached_module.tracefs, "tracefs", lambda: Path("/sys/kernel/tracing"))
    monkeypatch.setattr(attached_module.tracefs, "remove_leftovers", pytest.fail)
    attached_module._remove_leftovers(pytest.fail)


def test_a_wall_clock_that_is_set_is_noticed_within_a_second(monkeypatch):
    """Two readings of one that is not set differ by less than a millisecond, and records keep their order."""
    now, wall = [100.0], [0]
    monkeypatch.setattr(attached_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(attached_module.clock, "namespace_offset_ns", lambda: 7)
    monkeypatch.setattr(attached_module.clock, "wall_offset_ns", lambda namespace_ns: wall[0] + namespace_ns)
    run = attached(Ring())
    begun = wall[0] = run.run.clock_offset_ns
    for seconds, set_by, offset in (1.0, 999_992, 0), (1.5, 10**9, 0), (2.0, 10**9, 10**9 + 7), (3.0, 0, 7):
        now[0] = 100.0 + seconds
        wall[0] = begun + set_by
        run.drain()
        assert run.run.clock_offset_ns == begun + offset
