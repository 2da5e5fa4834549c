"""The dashboard's queries, with Grafana's variables filled in."""

import json
import re
from typing import NamedTuple

from tests.prometheus.conftest import DEPLOY

DASHBOARD = json.loads((DEPLOY / "grafana/inetprobe.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
_BUILT_IN = {"__rate_interval": "5m", "__range": "5m"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]*\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<match>.+), )?(?P<label>\w+)\)")


class Query(NamedTuple):
    """One query of a panel."""

    panel: str
    expr: str
    instant: bool


def queries():
    return [
        Query(panel["title"], target["expr"], target.get("instant", False))
        for panel in PANELS
        for target in panel["targets"]
    ]


def filled(text, **values):
    """``text`` with every variable replaced; KeyError for one that is not defined."""
    known = _BUILT_IN | values
    return _VARIABLE.sub(lambda match: known[match[1] or match[2]], text)


def label_values(query):
    """(series selector or None, label) of Grafana's ``label_values(selector, label)``."""
    match = _LABEL_VALUES.fullmatch(query)
    assert match, f"Grafana has no variable query {query!r}"
    return match["match"], match["label"]


def metrics(expr):
    """The names of series in an expression."""
    return set(re.findall(r"\b(?:inetprobe|process|python|scrape)_\w+|\bup\b|\bALERTS\b", expr))
