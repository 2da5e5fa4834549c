"""The catalog of metrics: names follow the guidelines, labels are bounded, and docs/metrics.md has its tables."""

import re

from inetprobe.commands.serve.metrics import catalog
from inetprobe.commands.serve.metrics.labels import Labels
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "metrics.md"
HEAD = "| metric | type | unit | labels | meaning | no series |\n| --- | --- | --- | --- | --- | --- |\n"


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
    ours = {"label", "program", "map", "version", "stage"}  # inetprobe's own names
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
