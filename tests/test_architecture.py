"""Imports within inetprobe go one way: a room may use only those that stand before it."""

import ast
from pathlib import Path

from inetprobe.record.layout import RECORD
from tests.support.paths import ROOT

PACKAGE = ROOT / "inetprobe"
PAGE = ROOT / "docs" / "architecture.md"
CALL = RECORD["calls"].subdtype[0]
ORDER = ["base", "model", "vm", "record", "stats", "trace", "kernel", "cli", "commands", "__main__"]
#: (room, an earlier room that it must not import).
FORBIDDEN = [("vm", "model"), ("record", "vm"), ("trace", "vm"), ("stats", "vm"), ("trace", "stats")]


def imports(path):
    """(line, module) of each import of inetprobe's own in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: a relative import hides where it goes"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("inetprobe."):
                yield node.lineno, name


def rooms_used():
    """(file:line, its room, the room it imports)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        for line, name in imports(path):
            room = name.split(".")[1]
            if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").exists():  # else a name of inetprobe/__init__.py
                yield f"{relative}:{line}", relative.parts[0].removesuffix(".py"), room


def test_every_room_has_its_place():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__"} == set(ORDER)
    assert len(rooms - {"__pycache__"}) <= 11


def test_no_import_goes_up():
    place = {room: index for index, room in enumerate(ORDER)}
    assert [(where, room, used) for where, room, used in rooms_used() if place[used] > place[room]] == []


def test_no_room_imports_one_that_is_forbidden_to_it():
    assert [(where, room, used) for where, room, used in rooms_used() if (room, used) in FORBIDDEN] == []


def test_a_command_uses_no_other():
    """What two commands need stands below them; ``report`` alone shows what ``check`` finds against a baseline."""
    crossing = []
    for path in sorted((PACKAGE / "commands").rglob("*.py")):
        own = path.relative_to(PACKAGE / "commands").parts[0].removesuffix(".py")
        used = {name.split(".")[2] for _, name in imports(path) if name.startswith("inetprobe.commands.")}
        crossing += [(own, other) for other in sorted(used - {own})]
    assert set(crossing) <= {("report", "check")}


def test_what_every_start_of_the_guest_pays_for_imports_nothing():
    for package in ("commands", "vm"):
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text())
        assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def test_one_module_imports_bcc():
    users = [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and node.names[0].name == "bcc")
        or (isinstance(node, ast.ImportFrom) and node.module == "bcc")
    ]
    assert set(users) == {Path("kernel/libbcc.py")}


def test_the_page_has_the_record_s_layout():
    _, page = PAGE.read_text().split("## The record")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    shown = {name.strip("`"): (int(offset), int(size)) for name, offset, size, *_ in rows}
    fields = [*RECORD.fields.items(), *((f"calls[].{name}", field) for name, field in CALL.fields.items())]
    assert shown == {name: (offset, dtype.itemsize) for name, (dtype, offset, *_) in fields}


def test_the_page_names_every_room():
    page = PAGE.read_text()
    assert [room for room in ORDER if f"`{room}" not in page] == []


def test_no_two_classes_or_modules_have_one_name():
    """But for ``command.py``, one in each package of a command, and the formats of ``check``, named as in --format."""
    modules, classes = {}, {}
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if (
            path.stem not in ("__init__", "command")
            and path.parent.name != "formats"
            and relative.parts[0] != "__main__.py"
        ):
            commands = relative.parts[0] == "commands" and len(relative.parts) == 2
            modules.setdefault(f"{path.stem} (a command)" if commands else path.stem, []).append(str(relative))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name.strip("_"), []).append(str(relative))
    assert [places for places in modules.values() if len(places) > 1] == []
    assert {name: places for name, places in classes.items() if len(places) > 1} == {}
