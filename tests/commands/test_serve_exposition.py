"""The two formats of the page, the choice between them, and exemplars."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from inetprobe.commands.serve.metrics.collector import SnapshotCollector
from inetprobe.commands.serve.metrics.exposition import OPENMETRICS, TEXT, Page, wants_openmetrics
from inetprobe.commands.serve.stream import StreamCounts, TraceExample, VerdictStream
from inetprobe.record.batch import Batch
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.recount import Recount
from inetprobe.stats.snapshot import OutcomeKey
from tests.support import builders

# As Prometheus 2.42 and 3.x send it.
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
PROMETHEUS_2 += "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"


def page_of(records, counts=None):
    recount, stream = Recount(), VerdictStream(DEFAULT_BOUNDS_NS, None, pytest.fail)
    for sink in (recount, stream):
        sink.batch(Batch(records), builders.run())
    return Page(SnapshotCollector(recount, counts or stream.counts))


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2,
        PROMETHEUS_3,
        "application/openmetrics-text",
        "text/plain;q=0.1, application/openmetrics-text ; version=0.0.1 ; q=0.2",
    ],
)
def test_a_scraper_that_prefers_openmetrics_gets_it(accept):
    rendered = page_of(builders.every_kind()).render(wants_openmetrics(accept))
    assert rendered.content_type == OPENMETRICS
    assert rendered.body.endswith(b"# EOF\n")
    assert list(openmetrics(rendered.body.decode()))


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html,*/*;q=0.8",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;version=2.0.0",
        "text/plain,application/openmetrics-text;q=0.9",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=7,text/plain",
    ],
)
def test_other_scrapers_get_the_text_format(accept):
    rendered = page_of(builders.every_kind()).render(wants_openmetrics(accept))
    assert rendered.content_type == TEXT
    assert list(plain(rendered.body.decode()))
    assert b"trace_id" not in rendered.body


@settings(max_examples=50)
@given(st.text() | st.text(alphabet='application/openmetrics-text;version=.0123,q= "', max_size=200))
def test_any_accept_header_has_an_answer(accept):
    assert wants_openmetrics(accept) in (True, False)


def test_both_formats_have_the_same_numbers():
    page = page_of(builders.every_kind())
    ours = [
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(page.render(wants_openmetrics(accept)).body.decode())
            for sample in family.samples
            if sample.name.startswith("inetprobe_") and sample.name != "inetprobe_scrape_duration_seconds"
        }
        for accept, parse in (("", plain), ("application/openmetrics-text", openmetrics))
    ]
    assert ours[0] == ours[1]
    assert len(ours[0]) > 150


def exemplars(page):
    return {
        (sample.name, sample.labels["socket_type"], sample.labels.get("le")): sample.exemplar
        for family in openmetrics(page.render(openmetrics=True).body.decode())
        for sample in family.samples
        if sample.exemplar
    }


def test_a_failures_trace_id_is_on_its_counter_and_its_bucket():
    refused = builders.record([builders.call(builders.CREATE, 0, 0, 5001, -1)], seq=77, kind=3, protocol=1)
    shown = exemplars(page_of(np.concatenate([builders.created(seq=76), refused])))
    counter = shown["inetprobe_socket_creation_failures_total", "SOCK_RAW", None]
    assert (counter.labels, counter.value) == ({"trace_id": "1-77"}, 1)
    assert str(counter.timestamp) == "1700000001.000005001"
    bucket = shown["inetprobe_socket_creation_duration_seconds_bucket", "SOCK_RAW", "1e-05"]
    assert (bucket.labels, bucket.value) == ({"trace_id": "1-77"}, 5.001e-06)


def test_an_exemplar_lies_in_its_bucket():
    records = np.tile(builders.created(), 40)
    records["seq"] = np.arange(40)
    records["calls"]["duration_ns"][:, 0] = [9000 + 3**n for n in range(40)]
    shown = [exemplar for exemplar in exemplars(page_of(records)).items() if exemplar[0][2] is not None]
    assert len(shown) > 8
    bounds = [bound / 1e9 for bound in DEFAULT_BOUNDS_NS]
    for (_, _, le), exemplar in shown:
        bucket = bisect_left(bounds, exemplar.value)
        assert float(le) == (bounds[bucket] if bucket < len(bounds) else float("inf"))


def test_the_newer_of_two_exemplars_with_the_same_labels_is_shown():
    records = builders.record([builders.call(builders.CREATE, 0, 0, 5001, -1)])
    older, newer = (TraceExample(f"1-{n}", n * 10**9, 5) for n in (1, 2))
    family = OutcomeKey(2, 1, 0, 1)
    odd = [OutcomeKey(2, 1, n, 1) for n in (10**6, 10**6 + 1)]
    recount = Recount()
    many = np.tile(records, 100)
    many["protocol"] = np.arange(1000, 1100)
    recount.batch(Batch(np.concatenate([records, many])), builders.run())
    counts = StreamCounts(failures={odd[0]: newer, odd[1]: older, family: older})
    page = Page(SnapshotCollector(recount, lambda: counts))
    shown = [
        line.split(" # ")[1]
        for line in page.render(openmetrics=True).body.decode().splitlines()
        if line.startswith("inetprobe_socket_creation_failures_total") and 'protocol="other"' in line
    ]
    assert shown == ['{trace_id="1-2"} 1.0 2.000000000']


def test_an_exemplar_from_before_the_epoch_has_no_timestamp():
    counts = StreamCounts(failures={OutcomeKey(2, 1, 0, 1): TraceExample("1-1", -5, 5)})
    records = builders.record([builders.call(builders.CREATE, 0, 0, 5001, -1)])
    exemplar = exemplars(page_of(records, lambda: counts))[
        "inetprobe_socket_creation_failures_total", "SOCK_STREAM", None
    ]
    assert exemplar.timestamp is None


def test_the_process_and_its_python_are_on_the_page():
    names = {family.name for family in plain(page_of(builders.every_kind()).render().body.decode())}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info", "python_gc_collections"} <= names
