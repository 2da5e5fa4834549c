"""Every query of the dashboard, sent to a real Prometheus as Grafana does: for all hosts, and for one."""

import math

import pytest

from tests.prometheus.dashboard import DASHBOARD, VARIABLES, filled, label_values, metrics, queries

#: Metrics that a recording does not have: only the kernel keeps them.
_LIVE_ONLY = ("inetprobe_bpf_", "inetprobe_map_")


def answer(real, query, instance):
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
        values = answer(real, query, instance)
        assert values, filled(query.expr, job="inetprobe", instance=instance, family=".*")
        assert any(not math.isnan(value) for value in values)


def test_a_recording_fills_every_panel_but_those_of_a_live_kernel(real):
    silent = {query.panel for query in queries() if not answer(real, query, real.replayed)}
    assert silent == {"CPU time of the BPF programs", "Time of one program run", "Fill of the BPF maps"}


def test_every_variable_has_its_values(real):
    expected = {
        "job": {"inetprobe"},
        "instance": {real.replayed, real.counted},
        "family": {"AF_INET", "AF_INET6"},
    }
    for name, values in expected.items():
        match, label = label_values(VARIABLES[name]["query"]["query"])
        selector = filled(match, job="inetprobe", instance=".*")
        actual = real.prometheus.get(f"label/{label}/values", **{"match[]": selector})
        assert set(actual) == values, name
    assert set(VARIABLES) == {"datasource", *expected}


def test_the_failures_panel_shows_the_workloads_errnos(real):
    (query,) = (query for query in queries() if query.panel == "Failed creations")
    rows = real.prometheus.query(filled(query.expr, job="inetprobe", instance=real.replayed, family=".*"))
    assert {row["errno"] for row, _ in rows} == {"EPERM", "EPROTONOSUPPORT", "ENOMEM"}


def test_the_annotations_query_is_valid(real):
    (alerts,) = DASHBOARD["annotations"]["list"]
    real.prometheus.query(filled(alerts["expr"], job="inetprobe", instance=".*"))
