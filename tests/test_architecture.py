"""Imports within inetprobe go one way: a room may use only those that stand before it."""

import ast
from pathlib import Path

from inetprobe.record import RECORD

ROOT = Path(__file__).parents[1] / "inetprobe"
CALL = RECORD["calls"].subdtype[0]
ORDER = [
    "errors",
    "text",
    "loglinear",
    "aptsources",
    "guest",
    "snapshot",
    "who",
    "tables",
    "names",
    "cache",
    "debian",
    "model",
    "emulator",
    "kernels",
    "calls",
    "shapes",
    "record",
    "stacks",
    "run",
    "columnar",
    "nesting",
    "filters",
    "buckets",
    "histograms",
    "trace",
    "verdict",
    "stack_columns",
    "columns",
    "command",
    "times",
    "sinks",
    "kernel",
    "sources",
    "pipeline",
    "check",
    "stats",
    "aggregate",
    "flat",
    "export",
    "query",
    "report",
    "top",
    "exporter",
    "web",
    "vm",
    "cli",
    "__main__",
]


def imports():
    """(file, its room, the room it imports)."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path.name}: a relative import hides where it goes"
                names = [node.module]
            for name in names:
                if name.startswith("inetprobe."):
                    yield path.name, room, name.split(".")[1]


def test_every_room_has_its_place():
    rooms = {path.name.removesuffix(".py") for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__"} == set(ORDER)


def test_no_import_goes_back():
    place = {room: index for index, room in enumerate(ORDER)}
    back = [(file, room, used) for file, room, used in imports() if place[used] > place[room]]
    assert not back


def test_the_page_has_the_record_s_layout():
    _, page = (ROOT.parent / "docs" / "architecture.md").read_text().split("## The record")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    shown = {name.strip("`"): (int(offset), int(size)) for name, offset, size, *_ in rows}
    fields = [*RECORD.fields.items(), *((f"calls[].{name}", field) for name, field in CALL.fields.items())]
    assert shown == {name: (offset, dtype.itemsize) for name, (dtype, offset, *_) in fields}


def test_the_page_names_every_room():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    assert [room for room in ORDER if f"`{room}" not in page] == []
