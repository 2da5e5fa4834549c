"""What ``top`` makes of a recording, printed once."""

import numpy as np

from inetprobe.filters import build
from inetprobe.record import Batch, Loss
from inetprobe.top.collect import Collector
from inetprobe.top.once import lines
from inetprobe.top.tables import tables

from . import builders


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


def test_every_kind_is_in_the_tables_and_harmless():
    collector = Collector(0.0, replayed=True)
    collector.batch(Batch(builders.every_kind()), builders.run())
    text = printed(collector, rows=1)
    assert text[0] == "sockets 10  failed 3 30%  modules asked 4, 900ms blocked  other socks 2"
    assert all(line.isprintable() for line in text)
    assert "… 4 more" in text
