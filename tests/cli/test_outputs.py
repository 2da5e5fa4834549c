"""Every -o: no file is lost to a link that another user has planted."""

import pytest

from tests.support import recorded, run_command

COMMANDS = {
    "check": ("check", "--format", "json"),
    "folded": ("export", "--to", "folded"),
    "parquet": ("export", "--to", "parquet"),
    "perfetto": ("export", "--to", "perfetto"),
    "replay": ("replay", "--format", "line"),
    "report": ("report",),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_planted_link_is_replaced(tmp_path, command):
    recorded.every_kind(tmp_path / "in.arrows")
    precious, shared = tmp_path / "precious", tmp_path / "shared"
    precious.write_text("kept")
    shared.mkdir()
    shared.chmod(0o777)
    link = shared / "out"
    link.symlink_to(precious)
    done = run_command.run(*command, "-q", tmp_path / "in.arrows", "-o", link)
    assert done.returncode in (0, 1), done.stderr
    assert precious.read_text() == "kept"
    assert not link.is_symlink()
    assert link.stat().st_size > 0
    assert [path.name for path in shared.iterdir()] == ["out"]
