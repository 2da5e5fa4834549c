"""Imports within inetprobe go one way: a room may use only those that stand before it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "inetprobe"
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
    "debian",
    "model",
    "emulator",
    "kernels",
    "record",
    "run",
    "filters",
    "buckets",
    "trace",
    "verdict",
    "columns",
    "command",
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
