"""Snapshot → page: every number arrives once, with the catalog's names, and the page never grows without bound."""

import gc
import math
import re
import tracemalloc
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from inetprobe import __version__
from inetprobe.commands.serve.metrics.catalog import METRICS
from inetprobe.commands.serve.metrics.collector import SnapshotCollector
from inetprobe.commands.serve.metrics.exposition import Page
from inetprobe.commands.serve.stream import StreamCounts, StreamSelector, VerdictStream
from inetprobe.model.profile import BUILT_IN_PROFILES
from inetprobe.record.filter import Filters
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.recount import Recount
from inetprobe.stats.snapshot import (
    Histogram,
    MapFill,
    ModuleRequests,
    OutcomeKey,
    Probe,
    ProgramCost,
    Snapshot,
    refusal,
)
from inetprobe.trace.pump import pump
from tests.support.model_source import EVERY_PATH, ModelSource
from tests.support.paths import GOLDENS
from tests.support.prometheus import promtool

GOLDEN = GOLDENS / "metrics.txt"
FUNCTIONS = ("inet_create", "inet6_create", "sk_alloc", "sk_prot_alloc", "__request_module")
BOUNDS = (1000, 2000)


class Fixed:
    """A source whose snapshot is set by hand."""

    def __init__(self, snapshot):
        self.now = snapshot

    def snapshot(self):
        return self.now


def page_of(counts, stream_counts=StreamCounts, **options):
    return Page(SnapshotCollector(counts, stream_counts, clock=lambda: 0.0), **options)


def scraped(page):
    """Every sample by name and labels; a series twice is refused."""
    samples = {}
    for family in text_string_to_metric_families(page.render().body.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return samples


def values(samples, name, *, by=()):
    """The samples of a name, summed by some of its labels."""
    sums = defaultdict(float)
    for (sample, labels), value in samples.items():
        if sample == name:
            sums[tuple(dict(labels)[label] for label in by)] += value
    return dict(sums) if by else sum(sums.values())


def histogram(*counts):
    return Histogram((*counts, *[0] * (len(DEFAULT_BOUNDS_NS) + 1 - len(counts))), 1000 * sum(counts))


def ordinary():
    """The counts of a host that serves TCP and UDP, with a ping and a scan for SCTP now and then."""
    requests = [
        (f, t, p, 0) for f, t, p in ((2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17), (10, 1, 0), (10, 1, 6), (10, 2, 0))
    ]
    requests += [(10, 2, 17, 0), (2, 3, 1, 0), (2, 3, 1, 1), (2, 2, 1, 13), (2, 1, 132, 93), (10, 3, 58, 1)]
    families_and_types = {(family, type_) for family, type_, *_ in requests}
    programs = [f"{function}_{side}" for function in FUNCTIONS for side in ("entry", "return")]
    return Snapshot(
        DEFAULT_BOUNDS_NS,
        entries=13,
        outcomes={OutcomeKey(*request): 1 for request in requests},
        refusals={refusal("socket", 2, 1, 24, after=True): 2, refusal("socket", 1, 1, 93, after=False): 1},
        call_durations=dict.fromkeys(FUNCTIONS, histogram(1, 2, 3)),
        creation_durations=dict.fromkeys(sorted(families_and_types), histogram(1, 2, 3)),
        module_requests={f"net-pf-2-proto-132{end}": ModuleRequests(1, 1) for end in ("", "-type-1")},
        probes={(f, side): Probe("fentry", True, 1, 0) for f in FUNCTIONS for side in ("entry", "return")},
        programs={name: ProgramCost(10, 1) for name in programs},
        maps={name: MapFill(1, 4096) for name in ("outcomes", "modules", "threads")},
    )


def of_model(kernel):
    source = ModelSource(BUILT_IN_PROFILES[kernel], EVERY_PATH)
    recount, stream = Recount(), VerdictStream(DEFAULT_BOUNDS_NS, None, pytest.fail)
    pump(source, Filters(), [recount, StreamSelector(stream, 10_000_000)])
    return recount, stream


def test_the_page_of_every_path_of_the_model_is_the_golden_page(update_goldens):
    recount, stream = of_model("6.1")
    page = page_of(recount, stream.counts, process=False)
    shown = page.render().body.decode().replace(f'version="{__version__}"', 'version="…"')
    if update_goldens:
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


def test_the_page_has_the_catalogs_names_types_labels_and_help():
    shown = {}
    for family in SnapshotCollector(Fixed(ordinary()), StreamCounts).collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        shown[family.name + suffix] = family.type, labels, family.documentation
        assert not [sample for sample in family.samples if sample.name.endswith("_created")]
    assert shown == {spec.name: (spec.type, set(spec.labels), spec.help) for spec in METRICS}


def test_promtool_accepts_the_page():
    recount, stream = of_model("6.1")
    for counts, stream_counts in (
        (recount, stream.counts),
        (Fixed(ordinary()), StreamCounts),
        (Fixed(Snapshot(BOUNDS)), StreamCounts),
    ):
        done = promtool("check", "metrics", input=page_of(counts, stream_counts).render().body.decode())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_ordinary_host_has_about_300_series():
    samples = scraped(page_of(Fixed(ordinary())))
    assert 250 <= len(samples) <= 330
    assert not values(samples, "inetprobe_label_overflows_total")


@pytest.mark.parametrize("kernel", BUILT_IN_PROFILES)
def test_the_page_counts_every_record_once(kernel):
    recount, stream = of_model(kernel)
    samples = scraped(page_of(recount, stream.counts))
    fed = recount.sockets
    assert values(samples, "inetprobe_socket_creations_total") == fed
    assert values(samples, "inetprobe_socket_creation_entries_total") == fed
    assert values(samples, "inetprobe_socket_creation_duration_seconds_count") == fed
    functions = values(samples, "inetprobe_call_duration_seconds_count", by=("function",))
    assert functions[("inet_create",)] + functions[("inet6_create",)] >= fed  # nested calls are more
    failed = sum(count for outcome, count in recount.snapshot().outcomes.items() if outcome.errno)
    assert values(samples, "inetprobe_socket_creation_failures_total") == failed > 0
    assert functions[("__request_module",)] == values(samples, "inetprobe_module_requests_total")
    judged = values(samples, "inetprobe_records_total", by=("verdict",))
    as_predicted = judged.pop(("as_predicted",))
    assert judged == {("deviation",): 0, ("incomplete",): 0, ("unmodelled",): 0}
    assert fed > as_predicted >= failed


def test_fixed_label_values_are_on_the_page_at_zero():
    samples = scraped(page_of(Fixed(Snapshot(BOUNDS))))
    reasons = {"outcome_missed", "thread_died", "no_state", "return_missed", "entry_missed", "truncated"}
    incomplete = values(samples, "inetprobe_socket_creations_incomplete_total", by=("reason",))
    assert incomplete == {(reason,): 0 for reason in reasons}
    lost = values(samples, "inetprobe_records_lost_total", by=("reason",))
    assert lost == {(reason,): 0 for reason in ("ring_full", "rate_limited", "malformed")}
    assert len(values(samples, "inetprobe_records_total", by=("verdict",))) == 4
    assert values(samples, "inetprobe_up") == 1


def test_the_kernels_own_figures_are_on_the_page():
    snapshot = Snapshot(
        BOUNDS,
        in_flight=5,
        filtered=6,
        incomplete={"truncated": 7, "from_the_future": 8},
        lost={"rate_limited": 9},
        probes={
            ("inet_create", "entry"): Probe("fentry", False, 10, 11),
            ("sk_alloc", "return"): Probe("x", True, 1, 0),
        },
        programs={"p": ProgramCost(1_500_000_000, 12)},
        maps={"m": MapFill(13, 14)},
        up=False,
    )
    samples = scraped(page_of(Fixed(snapshot), lambda: StreamCounts({"deviation": 15}, 16)))
    assert values(samples, "inetprobe_sockets_in_flight") == 5
    assert values(samples, "inetprobe_socket_creations_filtered_total") == 6
    incomplete = values(samples, "inetprobe_socket_creations_incomplete_total", by=("reason",))
    assert (incomplete[("truncated",)], incomplete[("other",)]) == (7, 8)
    lost = values(samples, "inetprobe_records_lost_total", by=("reason",))
    assert lost == {("ring_full",): 0, ("rate_limited",): 9, ("malformed",): 16}
    assert values(samples, "inetprobe_probe_hits_total", by=("function", "probe"))["inet_create", "entry"] == 10
    assert values(samples, "inetprobe_probe_misses_total", by=("function", "probe"))["inet_create", "entry"] == 11
    assert values(samples, "inetprobe_probe_attached", by=("function", "probe", "mechanism")) == {
        ("inet_create", "entry", "fentry"): 0,
        ("sk_alloc", "return", "other"): 1,
    }
    assert values(samples, "inetprobe_bpf_run_time_seconds_total", by=("program",)) == {("p",): 1.5}
    assert values(samples, "inetprobe_bpf_runs_total") == 12
    assert values(samples, "inetprobe_map_entries", by=("map",)) == {("m",): 13}
    assert values(samples, "inetprobe_map_capacity") == 14
    assert values(samples, "inetprobe_records_total", by=("verdict",))[("deviation",)] == 15
    assert values(samples, "inetprobe_up") == 0


def test_buckets_are_cumulative_and_in_seconds():
    counts = Fixed(Snapshot(BOUNDS, call_durations={"inet_create": Histogram((1, 2, 4), 9_000)}))
    samples = scraped(page_of(counts))
    name = "inetprobe_call_duration_seconds"
    buckets = {float(le): count for (le,), count in values(samples, f"{name}_bucket", by=("le",)).items()}
    assert buckets == {1e-6: 1, 2e-6: 3, math.inf: 7}
    assert values(samples, f"{name}_count") == 7
    assert values(samples, f"{name}_sum") == 9e-6


def test_histograms_under_one_label_are_added_up():
    odd = {(2, type_): Histogram((1, 0, type_), 1000) for type_ in (20, 21, 22)}
    calls = {f"f{number}": Histogram((0, 1, 0), 10**9) for number in range(30)}
    samples = scraped(page_of(Fixed(Snapshot(BOUNDS, creation_durations=odd, call_durations=calls))))
    name = "inetprobe_socket_creation_duration_seconds"
    assert values(samples, f"{name}_bucket", by=("socket_type", "le"))["other", "+Inf"] == 3 + 20 + 21 + 22
    assert values(samples, f"{name}_sum", by=("socket_type",)) == {("other",): 3e-6}
    assert values(samples, "inetprobe_call_duration_seconds_sum", by=("function",))[("other",)] == 6
    assert values(samples, "inetprobe_label_overflows_total", by=("label",))[("function",)] == 6


def every_combination():
    return {
        OutcomeKey(family, type_, protocol, errno): 1 + (errno == 93)
        for family in (2, 10)
        for type_ in range(16)
        for protocol in range(263)
        for errno in (0, 1, 93)
    }


def test_hostile_requests_cannot_grow_the_page_or_memory_without_bound():
    outcomes = every_combination()
    modules = {f"net-pf-2-proto-{n}-type-{n % 16}": ModuleRequests(2, 1) for n in range(5000)}
    durations = {(family, type_): histogram(1) for family in (2, 10) for type_ in range(16)}
    counts = Fixed(Snapshot(DEFAULT_BOUNDS_NS, 0, outcomes, creation_durations=durations, module_requests=modules))
    page = page_of(counts)
    samples = scraped(page)
    assert values(samples, "inetprobe_socket_creations_total") == sum(outcomes.values())
    protocols = values(samples, "inetprobe_socket_creations_total", by=("protocol",))
    assert len(protocols) == 65
    requests = values(samples, "inetprobe_module_requests_total", by=("module",))
    assert (len(requests), sum(requests.values())) == (65, 10_000)
    overflows = values(samples, "inetprobe_label_overflows_total", by=("label",))
    assert overflows[("protocol",)] == protocols[("other",)] == (263 - 64) * 2 * 16 * 4
    assert overflows[("module",)] == requests[("other",)] == (5000 - 64) * 2
    assert {label for (label,), count in overflows.items() if count} == {"protocol", "module"}
    size = len(page.render().body)
    assert (len(samples), size) <= (7_200, 1_000_000)

    # Other names, over and over, leave nothing behind.
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in (1, 2):
            odd = {OutcomeKey(2, 1, 10**6 * turn + n, 93): 1 for n in range(3000)}
            other = {f"m{turn}-{n}": ModuleRequests(1, 1) for n in range(3000)}
            counts.now = Snapshot(DEFAULT_BOUNDS_NS, 0, {**outcomes, **odd}, module_requests={**modules, **other})
            assert abs(len(page.render().body) - size) < 100_000
            counts.now = odd = other = None
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()


def test_hostile_names_are_escaped():
    name = 'a"} 1\ninetprobe_up 7\\'
    counts = Fixed(Snapshot(BOUNDS, module_requests={name: ModuleRequests(3, 0)}))
    samples = scraped(page_of(counts))
    assert values(samples, "inetprobe_module_requests_total", by=("module",)) == {(name,): 3}
    assert values(samples, "inetprobe_up") == 1


def snapshots(draw):
    """A snapshot that only grows, in a few steps; new keys appear on the way in any order."""
    outcome = st.builds(
        OutcomeKey,
        st.integers(-1, 12),
        st.integers(-1, 17),
        st.none() | st.integers(-3, 300),
        st.none() | st.integers(0, 99),
    )
    name = st.none() | st.integers(0, 120).map(lambda n: f"net-pf-2-proto-{n}")
    outcomes, modules, creations, calls = Counter(), Counter(), {}, {}
    for _ in range(draw(st.integers(2, 4))):
        outcomes.update(draw(st.dictionaries(outcome, st.integers(0, 9), max_size=40)))
        modules.update(draw(st.dictionaries(name, st.integers(0, 9), max_size=60)))
        for grown, keys in (
            (creations, st.tuples(st.integers(-1, 12), st.integers(-1, 17))),
            (calls, st.integers(0, 40).map(lambda n: f"f{n}")),
        ):
            for key in draw(st.lists(keys, max_size=20)):
                before = grown.get(key, Histogram((0, 0, 0), 0))
                grown[key] = Histogram(
                    (before.counts[0] + 1, before.counts[1], before.counts[2] + 1), before.sum_ns + 7000
                )
        yield Snapshot(
            BOUNDS,
            outcomes=dict(outcomes),
            module_requests={key: ModuleRequests(n, n // 2) for key, n in modules.items()},
            creation_durations=dict(creations),
            call_durations=dict(calls),
        )


@settings(max_examples=40)
@given(st.data())
def test_no_counter_ever_falls_and_every_count_is_on_the_page(data):
    counts = Fixed(Snapshot(BOUNDS))
    page = page_of(counts, process=False)
    before = scraped(page)
    for counts.now in snapshots(data.draw):
        now = scraped(page)
        fell = {key: (value, now.get(key)) for key, value in before.items() if now.get(key, -1) < value}
        assert not fell
        snapshot = counts.now
        assert values(now, "inetprobe_socket_creations_total") == sum(snapshot.outcomes.values())
        failed = sum(count for outcome, count in snapshot.outcomes.items() if outcome.errno != 0)
        assert values(now, "inetprobe_socket_creation_failures_total") == failed
        requests = sum(asked.requests for asked in snapshot.module_requests.values())
        assert values(now, "inetprobe_module_requests_total") == requests
        durations = sum(sum(histogram.counts) for histogram in snapshot.call_durations.values())
        assert values(now, "inetprobe_call_duration_seconds_count") == durations
        before = now


def test_help_says_what_the_verdicts_cover():
    body = page_of(Fixed(Snapshot(BOUNDS))).render().body.decode()
    assert re.search(r"^# HELP inetprobe_records_total .*sampled stream only", body, re.MULTILINE)


def test_the_scrapes_own_duration_is_measured():
    ticks = iter((10.0, 10.25))
    page = Page(SnapshotCollector(Fixed(Snapshot(BOUNDS)), StreamCounts, clock=lambda: next(ticks)))
    assert values(scraped(page), "inetprobe_scrape_duration_seconds") == 0.25


def test_a_probe_without_counted_hits_has_misses_and_no_hits():
    probes = {("sched_process_exit", "entry"): Probe("tracepoint", True, None, 3)}
    page = page_of(Fixed(Snapshot(BOUNDS, probes=probes))).render().body.decode()
    assert 'inetprobe_probe_misses_total{function="sched_process_exit",probe="entry"} 3.0' in page
    assert "inetprobe_probe_hits_total{" not in page


def test_a_probe_whose_misses_nothing_counts_has_no_series_of_them():
    probes = {
        ("sk_alloc", "entry"): Probe("kprobe", True, 5, None),
        ("sk_alloc", "return"): Probe("kprobe", True, 5, 0),
    }
    samples = scraped(page_of(Fixed(Snapshot(BOUNDS, probes=probes))))
    assert values(samples, "inetprobe_probe_misses_total", by=("probe",)) == {("return",): 0}
    assert values(samples, "inetprobe_probe_hits_total", by=("probe",)) == {("entry",): 5, ("return",): 5}
