"""The dashboard as a file: its layout, and the metrics it shows. tests/prometheus runs its queries."""

import itertools
import re

from inetprobe.commands.serve.metrics.catalog import METRICS
from tests.prometheus.dashboard import DASHBOARD, PANELS, VARIABLES, filled, label_values, metrics, queries

#: Metrics of the Python client and of Prometheus itself.
_FROM_OTHERS = {
    "process_cpu_seconds_total", "process_resident_memory_bytes", "scrape_duration_seconds", "scrape_samples_scraped",
}  # fmt: skip
_TYPES = {spec.name: spec.type for spec in METRICS}
_SELECTION = {"job": "inetprobe", "instance": ".*", "family": ".*"}


def test_panels_do_not_overlap():
    all_panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in all_panels}) == len(all_panels)
    assert len({panel["title"] for panel in all_panels}) == len(all_panels)
    cells = {}
    for panel in all_panels:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        assert x + width <= 24
        columns, rows = range(x, x + width), range(y, y + height)
        for cell in itertools.product(columns, rows):
            assert cells.setdefault(cell, panel["title"]) == panel["title"]


def test_every_panel_queries_the_chosen_data_source_and_has_a_unit():
    for panel in PANELS:
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_selector_filters_by_the_chosen_job_and_instance():
    for query in queries():
        selectors = re.findall(r"\b(?:inetprobe|process|scrape)_\w+\{([^}]*)\}", query.expr)
        assert len(selectors) == len(re.findall(r"\b(?:inetprobe|process|scrape)_\w+", query.expr)), query
        assert all('job="$job", instance=~"$instance"' in selector for selector in selectors), query


def test_it_shows_every_metric_of_the_catalog_and_no_unknown_one():
    suffix = re.compile(r"_(bucket|sum|count)$")
    shown = set()
    for query in queries():
        for metric in metrics(filled(query.expr, **_SELECTION)):
            family = suffix.sub("", metric)
            name = family if _TYPES.get(family) == "histogram" else metric
            assert name in _TYPES or name in _FROM_OTHERS, query
            shown.add(name)
    assert set(_TYPES) <= shown


def test_variables_are_queries_for_labels_of_known_metrics():
    for name, variable in VARIABLES.items():
        if variable["type"] != "datasource":
            match, label = label_values(variable["query"]["query"])
            assert label == name
            assert metrics(match) <= set(_TYPES)
