"""``top`` of a recording, printed once."""

import asyncio

import numpy as np
from textual.geometry import Region
from textual.widgets import DataTable

from inetprobe.commands.top.collect import Collector
from inetprobe.commands.top.command import _parse
from inetprobe.commands.top.once import lines
from inetprobe.commands.top.screen import Feed, TopScreen
from inetprobe.commands.top.tables import tables
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.filter import build
from tests.support import builders, recorded, run_command
from tests.support.paths import GOLDENS

GOLDEN = GOLDENS / "top.txt"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8c1f4f3e_5a57_4d0c_9d63_2f2f2b1e7a10.slice"
CGROUPS = {
    1: "/",
    2: f"{POD}/cri-containerd-{'3f4d5c6b' * 8}.scope",
    3: f"{POD}/cri-containerd-{'3f4d5c6b' * 7}00000000.scope",
    4: "/user.slice/user-1000.slice/session-3.scope",
    5: None,
}


def printed(collector, rows=10):
    return list(lines(collector.frame, tables(), rows))


def test_rates_are_of_the_last_interval_and_losses_stay():
    now = [0.0]
    collector = Collector(1.0, now=lambda: now[0])
    for second, sockets in ((1, 3), (3, 8)):
        now[0] = float(second)
        collector.batch(Batch(np.tile(builders.created(), sockets), (Loss("ring_full", 2),)), builders.run())
    assert printed(collector)[0].startswith("sockets 11 (4.0/s)")
    collector.restart(build({"comm": ["nobody"]}))
    now[0] = 9.0
    collector.batch(Batch(np.tile(builders.created(), 5)), builders.run())
    now[0] = 10.0
    collector.batch(Batch(builders.created()[:0]), builders.run())
    assert printed(collector)[0].startswith("sockets 0 (0.0/s)")
    assert printed(collector)[1].startswith("lost 4 (ring_full 4)")


def test_every_kind_is_in_the_tables_and_printable():
    collector = Collector(0.0, replayed=True)
    collector.batch(Batch(builders.every_kind()), builders.run())
    text = printed(collector, rows=1)
    assert text[0] == "sockets 10  failed 3 30%  module requests 4, 900ms blocked  other socks 2"
    assert all(line.isprintable() for line in text)
    assert "… 4 more" in text


def owned():
    """Every kind, made in each of CGROUPS."""
    records = builders.every_kind()
    records["cgroup_id"] = np.arange(len(records)) % len(CGROUPS) + 1
    run = builders.run()
    run.cgroups |= CGROUPS
    return records, run


def test_once_of_a_recording(tmp_path, update_goldens):
    records, run = owned()
    recorded.write(tmp_path / "r.arrows", records, recorded.EVERY_KIND, run)
    done = run_command.run("top", "--replay", tmp_path / "r.arrows", "--once")
    assert done.returncode == 0, done.stderr
    if update_goldens:
        GOLDEN.write_text(done.stdout)
    assert done.stdout == GOLDEN.read_text()


def test_containers_with_the_same_id_prefix_stay_apart():
    records, run = owned()
    collector = Collector(0.0, replayed=True)
    collector.batch(Batch(records), run)
    (groups,) = (table for table in tables() if table.name == "groups")
    names = [row[0] for row in groups.sorted(collector.frame, 0)]
    assert names.count("pod 8c1f4f3e containerd 3f4d5c6b") == 2
    assert len(names) == 5


def test_a_typed_filter_is_parsed_like_the_command_line():
    collector = Collector(0.0, replayed=True)
    comm = np.tile(builders.created(comm=b"[red]x"), 2)
    collector.batch(Batch(comm), builders.run())

    async def typed():
        app = TopScreen(Feed(collector, collector.restart, _parse, lambda: False), tables(), "r.arrows")
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("4")
            assert str(app.query_one(DataTable).get_row_at(0)[1]) == "[red]x"
            await pilot.press("slash", *"-x", "enter")
            assert collector.filters.describe() == ("failed",)
            await pilot.press("slash", "ctrl+u", *"-p x", "enter")
            assert "--pid: 'x' is not a number" in app._message
            assert collector.filters.describe() == ("failed",)

    asyncio.run(typed())


def test_new_counts_while_the_keys_are_shown():
    collector = Collector(0.0)

    async def watched():
        app = TopScreen(Feed(collector, collector.restart, _parse, lambda: False), tables(), "live")
        async with app.run_test(size=(132, 50)) as pilot:
            await pilot.press("question_mark")
            collector.batch(Batch(builders.created()), builders.run())
            await pilot.pause(0.3)
            await pilot.press("escape")
            await pilot.pause(0.1)
            assert app.query_one(DataTable).row_count == 3

    asyncio.run(watched())


def test_a_table_that_is_drawn_at_once_is_not_cut_off():
    collector = Collector(0.0, replayed=True)
    collector.batch(Batch(builders.every_kind()), builders.run())

    async def drawn():
        app = TopScreen(Feed(collector, collector.restart, _parse, lambda: False), tables(), "r.arrows")
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("6")
            app._draw()
            lines = app.query_one(DataTable).render_lines(Region(0, 0, 80, 6))
            assert any(line.text.strip().startswith("net-pf-2-proto-132 ") for line in lines)

    asyncio.run(drawn())
