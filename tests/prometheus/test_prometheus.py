"""A real Prometheus over `serve --replay`: its counts are the workload's, every rule works, and a fleet's Prometheus
gets the recorded series."""

import http.client
import time

import pytest
import yaml

from tests.prometheus import workload
from tests.prometheus.conftest import DEPLOY
from tests.support.prometheus import promtool


def rules_of(name):
    groups = yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


TRUTH = [
    ("inetprobe_socket_creations_total", ("family", "socket_type", "protocol"), workload.CREATIONS),
    ("inetprobe_socket_creation_failures_total", ("family", "socket_type", "protocol", "errno"), workload.FAILURES),
    ("inetprobe_socket_refusals_total", ("stage", "errno", "family"), workload.REFUSALS),
    ("inetprobe_module_requests_total", ("module",), workload.MODULE_REQUESTS),
    ("inetprobe_module_request_failures_total", ("module",), workload.MODULE_FAILURES),
    ("inetprobe_call_duration_seconds_count", ("function",), workload.CALLS),
    ("inetprobe_socket_creation_duration_seconds_count", ("family", "socket_type"), workload.CREATION_COUNTS),
    ("inetprobe_socket_creation_duration_seconds_sum", ("family", "socket_type"), workload.CREATION_SECONDS),
    ("inetprobe_socket_creation_entries_total", (), {(): workload.SOCKETS}),
    ("inetprobe_sockets_in_flight", (), {(): 0}),
    ("inetprobe_up", (), {(): 1}),
]


@pytest.mark.parametrize(("metric", "labels", "truth"), TRUTH, ids=[metric for metric, _, _ in TRUTH])
def test_counts_equal_the_truth(real, metric, labels, truth):
    assert real.prometheus.table(f'{metric}{{instance="{real.replayed}"}}', *labels) == truth


def test_sums_equal_the_truth(real):
    prometheus, chosen = real.prometheus, f'instance="{real.replayed}"'
    assert prometheus.value(f"sum(inetprobe_records_total{{{chosen}}})") == workload.STREAMED
    assert prometheus.value(f"sum(inetprobe_records_lost_total{{{chosen}}})") == 0
    assert prometheus.value(f"sum(inetprobe_probe_misses_total{{{chosen}}})") == 0
    eperm = prometheus.value(f'sum(inetprobe_socket_creation_failures_total{{{chosen}, errno="EPERM"}})')
    assert eperm == 19
    # Those that waited for modprobe took half a second, the others under 10 us.
    bucket = f"inetprobe_socket_creation_duration_seconds_bucket{{{chosen}"
    below = prometheus.value(f'sum({bucket}, le="1e-05"}})')
    assert prometheus.value(f'sum({bucket}, le="0.1"}})') == below == workload.SOCKETS - 13 - 17
    assert prometheus.value(f'sum({bucket}, le="1.0"}})') == workload.SOCKETS


def test_a_counter_that_grew_between_two_scrapes_has_a_rate_and_no_reset(real):
    increase = f'sum(increase(inetprobe_socket_creations_total{{instance="{real.replayed}"}}[5m]))'
    assert real.prometheus.value(increase) > 0
    assert (
        real.prometheus.value(f'resets(inetprobe_socket_creation_entries_total{{instance="{real.replayed}"}}[5m])') == 0
    )


def test_every_rule_is_evaluated_without_error(real):
    groups = real.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = [rule for name in ("recording.yml", "alerts.yml") for rule in rules_of(name)]
    assert sorted(rule["name"] for rule in rules) == sorted(rule.get("record") or rule["alert"] for rule in written)
    assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in rules} == dict.fromkeys(
        (rule["name"] for rule in rules), ("ok", None)
    )


@pytest.mark.parametrize("name", [rule["record"] for rule in rules_of("recording.yml")])
def test_every_recording_rule_has_data(real, name):
    rows = real.prometheus.query(name)
    assert rows
    assert all(value == value for row, value in rows if row.get("instance") != real.counted), rows


def test_recording_rules_agree_with_the_workload(real):
    prometheus = real.prometheus
    assert prometheus.value("job:inetprobe_hosts:count") == prometheus.value("job:inetprobe_up:sum") == 2
    unaccounted = prometheus.table("instance:inetprobe_socket_creations_unaccounted:sum", "instance")
    assert unaccounted == {(real.replayed,): 0, (real.counted,): 0}
    quick = 'family="AF_INET", socket_type="SOCK_DGRAM"'
    p99 = prometheus.value(f"job_family_type:inetprobe_socket_creation_duration_seconds:p99_5m{{{quick}}}")
    assert 5e-6 < p99 <= 1e-5  # all took 9 us
    p50 = prometheus.value(
        'instance_family_type:inetprobe_socket_creation_duration_seconds:p50_5m{socket_type="SOCK_RAW"}'
    )
    assert 2e-6 < p50 <= 5e-6  # all took 5 us


def test_every_alert_that_holds_has_its_sentences(real):
    """Prometheus lists every alert whose condition holds, pending ones included."""
    alerts = real.prometheus.get("alerts")["alerts"]
    for alert in alerts:
        for sentence in alert["annotations"].values():
            assert "error" not in sentence, alert
            assert "<no value>" not in sentence, alert
    # All sockets of a type were slow or failed in the second recording; nothing was lost or missed.
    holding = {alert["labels"]["alertname"] for alert in alerts}
    assert "InetprobeCreationLatency" in holding
    assert not {"InetprobeRecordsLost", "InetprobeProbeMisses", "InetprobeNotCounting"} & holding


@pytest.mark.parametrize("alert", rules_of("alerts.yml"), ids=lambda alert: alert["alert"])
def test_the_operand_of_every_alert_has_data(real, alert):
    assert real.prometheus.query(without_comparisons(alert["expr"])), alert["expr"]


def without_comparisons(expr):
    """What is left of the first operand: ``rate(x[5m]) > 1 unless …`` asks for ``rate(x[5m])``."""
    for sign in (" unless", " and", " > ", " == "):
        expr = expr.replace("\n", " ").split(sign)[0]
    return expr


def test_a_fleet_sees_the_recorded_series_and_no_others(real):
    below = names(real.prometheus, "job[a-z_]*:inetprobe_.*")
    assert "job_family_type_protocol:inetprobe_socket_creations:rate5m" in below
    for other in (real.above, real.written):
        other.wait(lambda other=other: names(other, "job.*inetprobe.*") == below, "the fleet's series", 60)
        assert names(other, ".*inetprobe.*") - {"ALERTS"} == below
        sites = {row["site"] for row, _ in other.query('{__name__="job:inetprobe_hosts:count"}')}
        assert sites == {"one"}
        assert other.value("job:inetprobe_hosts:count") == 2
        families = other.table(
            "job_family_type_errno:inetprobe_socket_creation_failures:rate5m", "socket_type", "errno"
        )
        assert set(families) == {("SOCK_RAW", "EPERM"), ("SOCK_STREAM", "EPROTONOSUPPORT"), ("SOCK_STREAM", "ENOMEM")}


def names(prometheus, pattern):
    return {row["__name__"] for row, _ in prometheus.query(f'{{__name__=~"{pattern}"}}') if row["__name__"] != "ALERTS"}


def test_a_failures_trace_can_be_found(real):
    now = time.time()
    query = 'inetprobe_socket_creation_failures_total{errno="EPERM"}'
    rows = real.prometheus.get("query_exemplars", query=query, start=0, end=now)
    assert [row["seriesLabels"]["errno"] for row in rows] == ["EPERM"]
    assert all(exemplar["labels"]["trace_id"] for row in rows for exemplar in row["exemplars"])


def test_promtool_accepts_the_served_page(real):
    connection = http.client.HTTPConnection(real.replayed, timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    done = promtool("check", "metrics", input=page)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
