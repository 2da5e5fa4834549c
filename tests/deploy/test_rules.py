"""The configurations and rules by promtool: they are valid, and each rule gives what series made by hand demand."""

import re

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.prometheus import promtool

FOLDER = ROOT / "deploy/prometheus"
SERIES = ROOT / "tests/prometheus"


def read(path):
    return yaml.safe_load(path.read_text())


def rules(name):
    return [rule for group in read(FOLDER / name)["groups"] for rule in group["rules"]]


ALERTS = [rule["alert"] for rule in rules("alerts.yml")]
RECORDS = [rule["record"] for rule in rules("recording.yml")]


@pytest.mark.parametrize("name", ["prometheus.yml", "federate.yml", "remote_write.yml"])
def test_promtool_accepts_the_configuration(name):
    done = promtool("check", "config", "--lint=all", "--lint-fatal", FOLDER / name)
    assert done.returncode == 0, done.stderr
    counts = re.findall(r"(\d+) rules found", done.stdout)
    assert counts == ([] if name == "federate.yml" else [str(len(RECORDS)), str(len(ALERTS))])


def test_both_configurations_scrape_the_same():
    scrape, remote = read(FOLDER / "prometheus.yml"), read(FOLDER / "remote_write.yml")
    for key in ("rule_files", "scrape_configs"):
        assert scrape[key] == remote[key]


@pytest.mark.parametrize("name", ["alerts.test.yml", "recording.test.yml"])
def test_rules_give_the_expected_series(name):
    done = promtool("test", "rules", SERIES / name)
    assert done.returncode == 0, done.stdout + done.stderr


def broken(folder, name, expr):
    """promtool's output for the tests of ``name`` when ``expr`` has changed every rule's expression."""
    changed = read(FOLDER / name)
    for group in changed["groups"]:
        for rule in group["rules"]:
            rule["expr"] = expr(rule)
    (folder / name).write_text(yaml.safe_dump(changed))
    tests = read(SERIES / name.replace(".yml", ".test.yml"))
    tests["rule_files"] = [name]
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    done = promtool("test", "rules", folder / "tests.yml")
    assert done.returncode != 0
    return done.stdout + done.stderr


def failing(output):
    return set(re.findall(r'expr: "(?:round\(1e7 \* )?(?:ALERTS\{alertname=~?\\"([\w|]+)|([\w:]+))', output))


def test_an_alert_that_never_or_always_fires_fails_its_test(tmp_path):
    never = broken(tmp_path, "alerts.yml", lambda rule: f"({rule['expr']}) and vector(1) > 2")
    always = broken(tmp_path, "alerts.yml", lambda rule: "max by (job, instance) ({__name__=~'.+'}) * 0")
    for output in (never, always):
        seen = {name for both in failing(output) for names in both for name in names.split("|")}
        assert set(ALERTS) <= seen


def test_a_wrong_recording_rule_fails_its_test(tmp_path):
    output = broken(tmp_path, "recording.yml", lambda rule: f"({rule['expr']}) * 1.001 + 0.001")
    assert {names[1] for names in failing(output)} == set(RECORDS)


def test_names_begin_with_the_labels_that_are_left():
    """level:metric:operations, as Prometheus' own guide has it; the level is the labels that are summed by."""
    short = {"type": "socket_type"}
    for rule in rules("recording.yml"):
        level, metric, operation = rule["record"].split(":")
        assert metric.startswith("inetprobe_")
        assert operation
        words = [short.get(word, word) for word in level.split("_")]
        labels = set(words) | ({"job"} if "instance" in words else set())
        for by in re.findall(r"\b(?:sum|count) by \(([^)]*)\)", rule["expr"]):
            assert set(by.split(", ")) - {"le"} == labels - {"le"}, rule


def test_the_fleet_gets_no_series_of_single_hosts():
    (federate,) = read(FOLDER / "federate.yml")["scrape_configs"]
    (keep,) = read(FOLDER / "remote_write.yml")["remote_write"][0]["write_relabel_configs"]
    (pattern, _) = federate["params"]["match[]"]
    assert federate["honor_labels"]
    assert keep["action"] == "keep"
    assert pattern == f'{{__name__=~"{keep["regex"]}"}}'
    up = {name for name in RECORDS if re.fullmatch(keep["regex"], name)}
    assert up == {name for name in RECORDS if not name.startswith("instance")}
    assert len(up) >= 10


def test_every_alert_is_documented():
    document = (ROOT / "docs/deploy.md").read_text()
    assert set(re.findall(r"`(Inetprobe\w+)`", document)) == set(ALERTS)
