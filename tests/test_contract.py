"""docs/contract.md holds: commands, exit statuses, the JSON's keys and types, the metrics."""

import json
import re

import pytest

from inetprobe.base import errors
from inetprobe.cli.main import cli
from inetprobe.commands.serve.metrics import catalog
from tests.support import mixed, recorded, run_command
from tests.support.paths import GOLDENS, ROOT

PAGE = (ROOT / "docs" / "contract.md").read_text()
TYPES = {"integer": int, "string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}


def table(heading, number=0):
    """The rows of the ``number``-th table under a heading, without its head; code marks are taken off."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    lines = tables[number].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_commands():
    assert {row[0] for row in table("Commands")} == set(cli.list_commands(None))


def test_the_exit_statuses():
    statuses = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in table("Exit statuses")} == statuses


@pytest.fixture(name="lines", scope="module")
def _lines(tmp_path_factory):
    """What `replay --format json` prints of a socket of every kind, and of many."""
    folder = tmp_path_factory.mktemp("contract")
    mixed.make(folder / "mixed.arrows", 500)
    files = [recorded.every_kind(folder / "every.arrows"), folder / "mixed.arrows"]
    done = [run_command.run("replay", file, "--format", "json") for file in files]
    texts = [*(one.stdout for one in done), (GOLDENS / "json.txt").read_text()]  # the golden has a loss
    return [json.loads(line) for text in texts for line in text.splitlines()]


def conforms(value, row):
    """Every key of ``value`` is in the table, with one of its types; those that are always there are."""
    types = {key: tuple(TYPES[word] for word in cell.split(" or ")) for key, cell, _ in row}
    assert value.keys() <= types.keys()
    for key, found in value.items():
        assert type(found) in types[key], (key, found)  # exactly: to Python a boolean is an int, too
    sometimes = {key for key, _, meaning in row if "only" in meaning or "alone" in meaning}
    assert types.keys() - value.keys() <= sometimes


def test_each_trace_has_the_keys_and_types_of_the_page(lines):
    traces = [line for line in lines if line["kind"] == "trace"]
    assert len(traces) > 500
    for trace in traces:
        conforms(trace, table("A trace as JSON"))
        for call in trace["calls"]:
            conforms(call, table("A trace as JSON", 1))


def test_what_else_stands_among_the_traces(lines):
    assert {line["kind"] for line in lines} == {"trace", "lost", "summary"}
    assert all(line.keys() == {"v", "kind", "reason", "count"} for line in lines if line["kind"] == "lost")
    assert all(line["v"] == 1 for line in lines)


def test_the_metrics():
    promised = {name: (kind, labels) for name, kind, labels in table("Metrics")}
    specs = {spec.name: (spec.type, ", ".join(spec.labels)) for spec in catalog.METRICS}
    assert promised == {name: specs.get(name) for name in promised}
