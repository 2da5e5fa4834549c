"""What is reported of attached probes, and by which names they are attached; the rest is in tests/live."""

import errno
import itertools
import os
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.kernel.callbacks import never_stop
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.host.tracefs import ProbeCount
from inetprobe.kernel.program import probes as module
from inetprobe.kernel.program.probes import FentryRefused, Probes

SK_ALLOC = ("sk_alloc",)


class Loading:
    """A stand-in for Loaded: each function's descriptor is its place in ``names``."""

    def __init__(self):
        self.names = []

    def load(self, name, *_):
        self.names.append(name)
        return len(self.names) - 1


def attached(*functions, folder=None, kprobes=None, loading=None, **target):
    """Probes of ``functions``, all by kprobes, which are ``kprobes`` in the order in which they are attached."""
    said = []
    facts = {"functions": functions, "follow": False, "renamed": {}, "counts_skips": False, **target}
    kprobes = kprobes or [Kprobe(-1, folder, f"event{number}") for number in range(2 * len(functions))]
    with (
        mock.patch.object(module.tracefs, "writable", return_value=folder),
        mock.patch.object(module.syscall, "attach", side_effect=lambda *_: os.open("/dev/null", os.O_RDONLY)),
        mock.patch.object(module.Kprobe, "attach", side_effect=kprobes) as attach,
    ):
        probes = Probes(SimpleNamespace(**facts), dict.fromkeys(functions, 3), 10, said.append)
        probes.attach(loading or Loading(), dict.fromkeys(functions, "kprobe"), never_stop)
    return SimpleNamespace(probes=probes, said=said, symbols=[call.args[2] for call in attach.call_args_list])


@pytest.mark.parametrize(("stays", "skips"), [(False, 0), (True, 1)])
def test_a_program_that_is_about_to_run_is_not_skipped(tmp_path, stays, skips):
    """Its kprobe's hit is counted already. Only what is still missing after a grace period was skipped."""
    probes, ran = attached(*SK_ALLOC, folder=tmp_path).probes, {"entry": 6, "return": 7}
    with (
        mock.patch.object(module.tracefs, "profile", return_value={"event0": (7, 0), "event1": (7, 0)}),
        mock.patch.object(module.rcu, "synchronize", side_effect=lambda: None if stays else ran.update(entry=7)),
    ):
        counts = probes.counts(lambda _, side: ran[side])
    assert {probe.partition(":")[2]: count.skipped for probe, count in counts.items()} == {"entry": skips, "return": 0}


@given(st.lists(st.tuples(st.integers(50, 1000), st.integers(0, 50)), min_size=2))
def test_a_kprobe_s_skips_never_fall(tmp_path_factory, readings):
    """Under load, calls between reading hits and runs hide skips: see Probes.counts."""
    probes = attached(*SK_ALLOC, folder=tmp_path_factory.getbasetemp()).probes
    shown = []
    for hits, skips in readings:
        # The program of the entry has run less often than the kprobe was hit.
        profile = {"event0": (hits, 0), "event1": (hits, 0)}
        runs = {"entry": hits - skips, "return": hits}
        with mock.patch.object(module.tracefs, "profile", return_value=profile):
            if shown:
                shown.append(probes.counts(lambda _, side, runs=runs: runs[side])["sk_alloc:entry"].skipped)
            else:
                probes.begin(lambda _, side, runs=runs: runs[side])
                shown.append(0)
    assert shown == sorted(shown)
    (_, before), *later = readings
    assert shown[-1] == max(0, *(skips - before for _, skips in later))


@pytest.mark.parametrize(("busy_reads", "shown"), [(1000, 0), (8, 2)])
def test_calls_between_reading_hits_and_runs_are_no_skips_but_may_hide_some(tmp_path, busy_reads, shown):
    """Two calls are skipped, and one is made between any two of the first reads. Of five readings the tightest bounds
    count: a quiet one shows both skips."""
    probes = attached(*SK_ALLOC, folder=tmp_path).probes
    reads, skipped = itertools.count(), [0]

    def calls():
        return 100 + min(next(reads), busy_reads)

    def profile(_):
        return dict.fromkeys(("event0", "event1"), (calls() + skipped[0], 0))

    with mock.patch.object(module.tracefs, "profile", side_effect=profile):
        probes.begin(lambda *_: calls())
        reads, skipped = itertools.count(), [2]
        assert probes.counts(lambda *_: calls())["sk_alloc:entry"].skipped == shown


def test_a_kprobe_that_cannot_be_removed_is_reported_and_the_others_are_detached(tmp_path):
    """Somebody may have written to kprobe_events meanwhile."""
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    (tmp_path / "kprobe_events").touch()
    folders = [tmp_path, tmp_path / "gone", tmp_path, tmp_path]
    kprobes = [Kprobe(fd, at, f"e{fd}") for fd, at in zip(fds, folders, strict=True)]
    seen = attached("inet_create", "sk_alloc", kprobes=kprobes)
    seen.probes.detach()
    assert seen.said == [f"the kprobe e{fds[1]} (sk_alloc, entry) stays in tracefs: No such file or directory"]
    removed = "".join(f"-:kprobes/e{fds[number]}\n" for number in (3, 2, 0))
    assert (tmp_path / "kprobe_events").read_text() == removed
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_tracefs_that_is_no_longer_where_it_was_is_still_used(tmp_path):
    """As one that is unmounted lazily."""
    folder = tmp_path / "tracing"
    folder.mkdir()
    (folder / "kprobe_profile").write_text("event1 7 0\nevent0 7 2\n")
    probes = attached(*SK_ALLOC, folder=folder).probes
    folder.rename(tmp_path / "gone")
    counts = probes.counts(lambda *_: 7)
    probes.close()
    assert counts == {"sk_alloc:return": ProbeCount(7, 2, 0), "sk_alloc:entry": ProbeCount(7, 0, 0)}


def test_the_kernel_s_own_count_of_skips_begins_with_begin(monkeypatch):
    """From Linux 6.7 on, and where tracefs cannot be written, too."""
    loading = Loading()
    probes = attached(*SK_ALLOC, loading=loading, counts_skips=True).probes
    skips = {"thread_exit": 0, "entry_sk_alloc": 5, "return_sk_alloc": 0}

    def program_info(fd):
        return SimpleNamespace(recursion_misses=skips[loading.names[fd]])

    monkeypatch.setattr(module.syscall, "program_info", program_info)
    probes.begin(lambda *_: 0)
    skips |= {"entry_sk_alloc": 12, "return_sk_alloc": 1}
    counts = probes.counts(lambda *_: 0)
    assert counts == {"sk_alloc:entry": ProbeCount(None, 0, 7), "sk_alloc:return": ProbeCount(None, 0, 1)}
    probes.begin(lambda *_: 0)
    assert [count.skipped for count in probes.counts(lambda *_: 0).values()] == [0, 0]


def test_returns_are_attached_before_entries_and_the_innermost_first():
    loading = Loading()
    attached("inet_create", "sk_alloc", loading=loading)
    entries = ["return_sk_alloc", "entry_sk_alloc", "return_inet_create", "entry_inet_create"]
    assert loading.names == ["thread_exit", *entries]


@pytest.mark.parametrize("symbol", ["sk_prot_alloc", "sk_prot_alloc.isra.7"])
def test_a_kprobe_is_set_on_the_kernel_s_own_name(symbol):
    loading = Loading()
    assert attached("sk_prot_alloc", loading=loading, renamed={"sk_prot_alloc": symbol}).symbols == [symbol] * 2
    assert loading.names[1:] == ["return_sk_prot_alloc", "entry_sk_prot_alloc"]


@pytest.mark.parametrize(
    ("function", "number", "refused"),
    [
        ("sk_alloc", 524, None),  # the kernel's ENOTSUPP: it has no direct calls, for no function
        ("sk_alloc", errno.EBUSY, "sk_alloc"),
        ("tcp_v4_init_sock", 524, "tcp_v4_init_sock"),  # of --also; it may have too many arguments
    ],
)
def test_fentry_that_is_refused_for_one_function_or_for_all(function, number, refused):
    target = SimpleNamespace(functions=(function,), follow=False, fentry={function: 7})
    answers = [os.open("/dev/null", os.O_RDONLY), OSError(number, os.strerror(number))]  # the tracepoint's is first
    with mock.patch.object(module.syscall, "attach", side_effect=answers):
        probes = Probes(target, {function: 3}, 10, pytest.fail)
        with pytest.raises(FentryRefused) as caught:
            probes.attach(Loading(), {function: "fentry"}, never_stop)
    assert caught.value.function == refused
    probes.close()
