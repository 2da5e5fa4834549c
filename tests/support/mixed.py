"""Recordings of any number of sockets in realistic proportions: most are ordinary, some slow, a few refused."""

from pathlib import Path

import numpy as np

from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch, Loss
from tests.support import builders

_ROWS = 65536
_COMMS = [b"nginx", b"curl", b"python3", b"postgres", b"dnsmasq", b"prometheus", b"sctp_test", b"ping"]
_CGROUPS = {
    1: "/system.slice/nginx.service",
    2: "/system.slice/docker-" + "4f2a9c1b7e30" + "0" * 52 + ".scope",
    3: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_9abc_def0_1234_56789abcdef0.slice/"
    "cri-containerd-" + "ab12" * 16 + ".scope",
    4: "/user.slice/user-1000.slice/session-3.scope",
}
# How often each kind of builders.every_kind() occurs: nearly all are ordinary.
_OFTEN = np.array([600, 250, 12, 1, 2, 3, 120, 1, 1, 5, 3, 2], float)


def run():
    made = builders.run()
    made.cgroups = dict(_CGROUPS)
    return made


def records(rows, seed=1, slower=1.0):
    """``rows`` sockets of every kind, with realistic durations: lognormal, with a long tail."""
    rng = np.random.default_rng(seed)
    kinds = builders.every_kind()
    which = rng.choice(len(kinds), rows, p=_OFTEN / _OFTEN.sum())
    made = kinds[which]
    factor = slower * rng.lognormal(0, 0.6, rows) * np.where(rng.random(rows) < 0.002, 40, 1)
    for name in ("start_ns", "duration_ns"):
        made["calls"][name] = (made["calls"][name] * factor[:, None]).astype(np.uint64)
    who = rng.choice(len(_COMMS), rows, p=[0.4, 0.2, 0.15, 0.1, 0.05, 0.05, 0.03, 0.02])
    plain = which != 9  # that one's name is hostile
    made["comm"][plain] = np.array(_COMMS)[who][plain]
    made["pid"] = 1000 + who * 100 + rng.integers(0, 20, rows)
    made["cgroup_id"] = 1 + who % len(_CGROUPS)
    made["start_ns"] = np.sort(rng.integers(0, rows * 60_000, rows)).astype(np.uint64) + np.uint64(10**9)
    made["seq"] = np.arange(rows)
    return made


def make(path: Path, sockets: int, slower: float = 1.0, rows: int = _ROWS) -> None:
    sink = RecordingWriter(OutputFile.create(path), run())
    first, missed = 0, 0
    for number, done in enumerate(range(0, sockets, rows)):
        made = records(min(rows, sockets - done), number, slower)
        made["start_ns"] += np.uint64(first)
        first = int(made["start_ns"][-1])
        missed += int(np.count_nonzero(made["flags"] & builders.RECORD_RETURN_MISSED))
        sink.batch(Batch(made, (Loss("ring_full", 7),) if number == 2 else ()), run())
    lost = 7 if sockets > 2 * rows else 0
    books = Accounting(sockets + lost, sockets - missed, {"return_missed": missed}, {"ring_full": lost} if lost else {})
    sink.summary(books)
