"""Recordings of any length for the benches: a mix of sockets as a busy host makes them.

python -m tests.bench.recordings FILE SOCKETS
"""

import sys
from pathlib import Path

import numpy as np

from inetprobe.base.files import OutputFile
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.batch import Batch
from tests.support import builders

#: Index in ``builders.every_kind`` and the per cent of the sockets that are of this kind.
MIX = {
    0: 50,  # TCP
    1: 24,  # UDP
    6: 12,  # TCP over IPv6
    2: 5,  # SOCK_RAW, EPERM
    3: 2,  # SCTP, which loads a module
    4: 3,  # no such protocol, after two requests
    5: 4,  # MPTCP, with a TCP socket within
}
COMMS = (b"nginx", b"curl", b"python3", b"envoy", b"sshd", b"dockerd", b"postgres", b"redis-server")
CGROUPS = {number: f"/system.slice/app{number}.service" for number in range(1, 13)}
# Records per drain of the ring.
_DRAINED = 2048
_PERIOD = 1 << 16
_EVERY_NS = 3000


def mixed(rows: int) -> np.ndarray:
    """Returns ``rows`` records of 64 processes, with lognormal durations."""
    random = np.random.default_rng(1)
    indices = random.choice(list(MIX), rows, p=np.array(list(MIX.values())) / 100)
    records = builders.every_kind()[indices]
    process = random.integers(0, 64, rows)
    records["start_ns"] = 10**9 + np.arange(rows) * _EVERY_NS
    records["seq"] = np.arange(rows) * 32
    records["cpu"] = np.arange(rows) % 4
    records["pid"] = random.integers(300, 30_000, 64)[process]
    records["tid"] = records["pid"] + random.integers(0, 8, rows)
    records["comm"] = np.array(COMMS)[process % len(COMMS)]
    records["cgroup_id"] = 1 + process % len(CGROUPS)
    # Start and end of each call are scaled by one factor per record, so that calls nest as before.
    slower = np.where(np.isin(indices, (3, 4)), 1, random.lognormal(0, 0.6, rows))[:, None]
    calls = records["calls"]
    ends = ((calls["start_ns"] + calls["duration_ns"]) * slower).astype(np.uint64)
    calls["start_ns"] = (calls["start_ns"] * slower).astype(np.uint64)
    calls["duration_ns"] = ends - calls["start_ns"]
    return records


def make(path: Path, sockets: int) -> Path:
    """Writes a recording as the live tracer would. Returns its path."""
    run = builders.run()
    run.cgroups = dict(CGROUPS)
    sink = RecordingWriter(OutputFile.create(path), run)
    records = mixed(_PERIOD)
    for done in range(0, sockets, _PERIOD):
        for start in range(0, min(_PERIOD, sockets - done), _DRAINED):
            sink.batch(Batch(records[start : start + min(_DRAINED, sockets - done - start)]), run)
        records = records.copy()
        records["start_ns"] += _PERIOD * _EVERY_NS
        records["seq"] += _PERIOD * 32
    sink.summary(Accounting(entries=sockets, complete=sockets))
    return path


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
