"""The catalog of metrics: what the contract demands is in it, and docs/metrics.md has its tables."""

import re

import pytest

from inetprobe.commands.serve.metrics import catalog
from inetprobe.commands.serve.metrics.labels import Labels
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "metrics.md"
HEAD = "| metric | type | unit | labels | meaning | no series |\n| --- | --- | --- | --- | --- | --- |\n"

#: The contract's table of metrics: name, type, labels.
CONTRACT = [
    ("inetprobe_socket_creations_total", "counter", ["family", "socket_type", "protocol"]),
    ("inetprobe_socket_creation_failures_total", "counter", ["family", "socket_type", "protocol", "errno"]),
    ("inetprobe_socket_creations_incomplete_total", "counter", ["reason"]),
    ("inetprobe_call_duration_seconds", "histogram", ["function"]),
    ("inetprobe_socket_creation_duration_seconds", "histogram", ["family", "socket_type"]),
    ("inetprobe_module_requests_total", "counter", ["module"]),
    ("inetprobe_module_request_failures_total", "counter", ["module"]),
    ("inetprobe_records_total", "counter", ["verdict"]),
    ("inetprobe_records_lost_total", "counter", ["reason"]),
    ("inetprobe_probe_hits_total", "counter", ["function", "probe"]),
    ("inetprobe_probe_misses_total", "counter", ["function", "probe"]),
    ("inetprobe_probe_attached", "gauge", ["function", "probe", "mechanism"]),
    ("inetprobe_sockets_in_flight", "gauge", []),
    ("inetprobe_up", "gauge", []),
    ("inetprobe_scrape_duration_seconds", "gauge", []),
    ("inetprobe_label_overflows_total", "counter", ["label"]),
    ("inetprobe_bpf_run_time_seconds_total", "counter", ["program"]),
    ("inetprobe_bpf_runs_total", "counter", ["program"]),
    ("inetprobe_build_info", "info", ["version"]),
]
#: Metrics that the contract does not name: the other terms of the identity, and how full the maps are.
BEYOND_THE_CONTRACT = {
    "inetprobe_socket_creation_entries_total",
    "inetprobe_socket_creations_filtered_total",
    "inetprobe_map_entries",
    "inetprobe_map_capacity",
}


@pytest.mark.parametrize(("name", "type_", "labels"), CONTRACT, ids=[name for name, _, _ in CONTRACT])
def test_a_metric_of_the_contract_has_its_type_and_labels(name, type_, labels):
    (spec,) = (spec for spec in catalog.METRICS if spec.name == name)
    assert (spec.type, list(spec.labels)) == (type_, labels)


def test_every_other_metric_is_known_to_be_beyond_the_contract():
    assert {spec.name for spec in catalog.METRICS} - {name for name, _, _ in CONTRACT} == BEYOND_THE_CONTRACT


def test_names_are_unique_and_follow_the_guidelines():
    assert len({spec.name for spec in catalog.METRICS}) == len(catalog.METRICS)
    for spec in catalog.METRICS:
        assert re.fullmatch(r"inetprobe(_[a-z]+)+", spec.name)
        assert spec.name.endswith("_total") == (spec.type == "counter"), spec
        assert spec.name.endswith("_info") == (spec.type == "info"), spec
        assert (spec.unit == "seconds") == ("_seconds" in spec.name), spec
        assert spec.help.endswith("."), spec
        assert not {"type", "pid", "comm"} & set(spec.labels), spec


def test_every_label_is_capped_or_has_a_fixed_set_of_values():
    ours = {"label", "program", "map", "version"}  # inetprobe's own names
    for spec in catalog.METRICS:
        assert set(spec.values) <= set(spec.labels)
        assert set(spec.labels) - set(spec.values) <= {*Labels.CAPPED, *ours}, spec


def as_code(text):
    """Options and identifiers in backticks."""
    return re.sub(r'--[a-z][a-z-]*|[\w.]*_[\w.]*\w|"\w+"', lambda match: f"`{match[0].strip(chr(34))}`", text)


def row(spec):
    labels = [f"`{name}`" + values_of(spec, name) for name in spec.labels]
    cells = (f"`{spec.name}`", spec.type, spec.unit, ", ".join(labels), as_code(spec.help), as_code(spec.absent))
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |")


def values_of(spec, label):
    values = spec.values.get(label)
    return "" if values is None else f" ({', '.join(f'`{value}`' for value in values)})"


def with_tables(page):
    """``page`` with the catalog's tables in place of those it has."""
    for section, specs in catalog.SECTIONS.items():
        table = HEAD + "".join(map(row, specs))
        pattern = rf"(^## {section}\n(?:(?!## ).*\n)*?)\| metric \|.*\n(?:\|.*\n)+"
        page, count = re.subn(pattern, lambda match, table=table: match[1] + table, page, flags=re.MULTILINE)
        assert count == 1, f"{PAGE.name} has no table of metrics under '## {section}'"
    return page


def test_the_tables_of_the_page_are_the_catalogs(update_goldens):
    page = PAGE.read_text()
    if update_goldens:
        PAGE.write_text(with_tables(page))
    else:
        renew = "renew docs/metrics.md: pytest tests/commands/test_serve_catalog.py --update-goldens"
        assert page == with_tables(page), renew
