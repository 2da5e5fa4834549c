"""Every query of the dashboard, asked of a real Prometheus as Grafana would: with all hosts, and with one."""

import math

import pytest

from tests.prometheus.dashboard import DASHBOARD, VARIABLES, filled, label_values, metrics, queries

#: What a recording does not know: only a kernel keeps it.
_LIVE_ONLY = ("inetprobe_bpf_", "inetprobe_map_")


def asked(real, query, instance):
    expr = filled(query.expr, job="inetprobe", instance=instance, family=".*")
    rows = [(labels, [value]) for labels, value in real.prometheus.query(expr)]
    if not query.instant:
        rows += real.prometheus.query_range(expr, seconds=5)
    return [value for _, values in rows for value in values]


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel.replace(" ", "-"))
def test_every_query_returns_numbers(real, query):
    live_only = any(metric.startswith(_LIVE_ONLY) for metric in metrics(query.expr))
    hosts = [".*", real.counted if live_only else real.replayed]
    for instance in hosts:
        values = asked(real, query, instance)
        assert values, filled(query.expr, job="inetprobe", instance=instance, family=".*")
        assert any(not math.isnan(value) for value in values)


def test_what_a_recording_does_not_know_is_all_that_it_does_not_show(real):
    silent = {query.panel for query in queries() if not asked(real, query, real.replayed)}
    assert silent == {"CPU time of the BPF programs", "Time of one run", "Fill of the BPF maps"}


def test_every_variable_has_its_values(real):
    expected = {
        "job": {"inetprobe"},
        "instance": {real.replayed, real.counted},
        "family": {"AF_INET", "AF_INET6"},
    }
    for name, values in expected.items():
        match, label = label_values(VARIABLES[name]["query"]["query"])
        selector = filled(match, job="inetprobe", instance=".*")
        found = real.prometheus.get(f"label/{label}/values", **{"match[]": selector})
        assert set(found) == values, name
    assert set(VARIABLES) == {"datasource", *expected}


def test_the_failures_it_shows_are_those_that_were_made(real):
    (query,) = (query for query in queries() if query.panel == "What failed")
    rows = real.prometheus.query(filled(query.expr, job="inetprobe", instance=real.replayed, family=".*"))
    assert {row["errno"] for row, _ in rows} == {"EPERM", "EPROTONOSUPPORT", "ENOMEM"}


def test_annotations_are_a_query_too(real):
    (alerts,) = DASHBOARD["annotations"]["list"]
    real.prometheus.query(filled(alerts["expr"], job="inetprobe", instance=".*"))
