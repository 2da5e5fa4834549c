"""The dashboard as a file: it is whole, and knows the metrics there are. tests/deploy asks its queries."""

import itertools
import re

from tests.prometheus.dashboard import DASHBOARD, PANELS, VARIABLES, filled, label_values, metrics, queries
from tests.support.paths import GOLDENS

PAGE = (GOLDENS / "metrics.txt").read_text()
#: Known of a live page, or of Prometheus, and not of the golden page.
_ELSEWHERE = {
    "inetprobe_map_entries", "inetprobe_map_capacity", "process_cpu_seconds_total", "process_resident_memory_bytes",
    "scrape_duration_seconds", "scrape_samples_scraped",
}  # fmt: skip
_SELECTION = {"job": "inetprobe", "instance": ".*", "family": ".*"}


def families():
    """Those of the page, by the name that PromQL knows them by."""
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", PAGE, re.MULTILINE))


def test_panels_have_places_of_their_own():
    all_panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in all_panels}) == len(all_panels)
    assert len({panel["title"] for panel in all_panels}) == len(all_panels)
    cells = {}
    for panel in all_panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        for cell in itertools.product(columns, rows):
            assert cells.setdefault(cell, panel["title"]) == panel["title"]


def test_every_panel_asks_the_chosen_prometheus_in_a_unit():
    for panel in PANELS:
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_selector_goes_by_the_chosen_hosts():
    for query in queries():
        selectors = re.findall(r"\b(?:inetprobe|process|scrape)_\w+\{([^}]*)\}", query.expr)
        assert len(selectors) == len(re.findall(r"\b(?:inetprobe|process|scrape)_\w+", query.expr)), query
        assert all('job="$job", instance=~"$instance"' in selector for selector in selectors), query


def test_it_knows_every_metric_and_no_other():
    suffix = re.compile(r"_(bucket|sum|count)$")
    known = families()
    shown = set()
    for query in queries():
        for metric in metrics(filled(query.expr, **_SELECTION)):
            bare = suffix.sub("", metric)
            name = bare if known.get(bare) == "histogram" else metric
            assert name in known or name in _ELSEWHERE, query
            shown.add(name)
    assert {name for name in known if name.startswith("inetprobe_")} <= shown


def test_variables_are_queries_of_known_labels():
    for name, variable in VARIABLES.items():
        if variable["type"] != "datasource":
            match, label = label_values(variable["query"]["query"])
            assert label == name
            assert metrics(match) <= set(families()) | {"inetprobe_build_info"}
