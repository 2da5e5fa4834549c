"""Replay: records per second and peak memory, compared with the machine's limits, perf script and trace-cmd report.

python -m tests.bench.bench_replay [--max-sockets 10000000] [--trace-dat FILE] [--perf-data FILE] [--sockets N]

Each figure is the CPU time, user and system, of a separate process, the median of several: on a shared machine
wall-clock time says little. The time for a hundred sockets, which is that of the start, is subtracted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

INETPROBE = (sys.executable, "-m", "inetprobe")
# Both programs print CPU time in ns, without that of their own start.
READ = """
import pyarrow as pa, sys, time
pa.set_memory_pool(pa.system_memory_pool())
best = []
for _ in range(5):
    before = time.process_time_ns()
    for _ in pa.ipc.open_stream(pa.OSFile(sys.argv[1])):
        pass
    best.append(time.process_time_ns() - before)
print(sorted(best)[2])
"""
COPY = """
import numpy as np, sys, time
source = np.ones(1 << 22, np.uint8)
target = np.empty_like(source)
best = []
for _ in range(200):
    before = time.process_time_ns()
    np.copyto(target, source)
    best.append(time.process_time_ns() - before)
print(round(sorted(best)[100] * int(sys.argv[1]) / source.nbytes))
"""
TO_ARROW = (
    "import sys; from pathlib import Path; from inetprobe.record.filter import Filters\n"
    "from inetprobe.trace.pump import pump; from inetprobe.base.files import OutputFile\n"
    "from inetprobe.record.arrow.writer import RecordingWriter\n"
    "from inetprobe.record.arrow.reader import RecordingReader\n"
    "source = RecordingReader(Path(sys.argv[1]))\n"
    "pump(source, Filters(), [RecordingWriter(OutputFile.create(Path(sys.argv[2])), source.run)])"
)
#: Records per second.
TARGETS = {"aggregates": 5_000_000, "JSON lines": 200_000}
# The peers: the option with their recording of the same sockets, and the command that makes it in the VM.
PEERS = {
    "trace-cmd report": (
        "trace_dat",
        "trace-cmd record -p function_graph -l inet_create -l sk_alloc … -o FILE WORKLOAD",
    ),
    "perf script": ("perf_data", "perf record -e probe:inet_create -e probe:inet_create__return … -o FILE WORKLOAD"),
}


@dataclass
class Cost:
    """CPU time of a process and its peak memory; ``took_s`` is the CPU time without the start."""

    cpu_s: float
    peak_mb: float
    took_s: float = 0.0


def cost(command: list[str], repeat: int) -> Cost:
    """Returns the median CPU time of ``repeat`` processes, and the largest peak of any of them."""
    cpu, peak = [], 0.0
    for _ in range(repeat):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
        cpu.append(usage.ru_utime + usage.ru_stime)
        peak = max(peak, usage.ru_maxrss / 1024)
    return Cost(statistics.median(cpu), peak)


class Bench:
    """Makes recordings of any length and measures jobs over them."""

    def __init__(self, folder: Path, repeat: int) -> None:
        self._folder = folder
        self._repeat = repeat
        self._starts: dict[str, Cost] = {}

    def recording(self, sockets: int) -> Path:
        path = self._folder / f"{sockets}.arrows"
        if not path.exists():  # by another process, since a child's peak begins with this process's memory
            subprocess.run([sys.executable, "-m", "tests.bench.recordings", path, str(sockets)], check=True)
        return path

    def command(self, job: str, sockets: int) -> list[str]:
        path = str(self.recording(sockets))
        return {
            "aggregates": [*INETPROBE, "serve", "--once", "--quiet", "--replay", path],
            "JSON lines": [*INETPROBE, "replay", "--quiet", "--format", "json", path],
            "Arrow": [sys.executable, "-c", TO_ARROW, path, str(self._folder / "again.arrows")],
            "cat": ["cat", path],
        }[job]

    def start(self, job: str) -> Cost:
        if job not in self._starts:
            self._starts[job] = cost(self.command(job, 100), self._repeat)
        return self._starts[job]

    def run(self, job: str, sockets: int) -> Cost:
        whole = cost(self.command(job, sockets), self._repeat)
        whole.took_s = max(whole.cpu_s - self.start(job).cpu_s, 1e-3)
        return whole

    def written(self, job: str, sockets: int) -> int:
        """Bytes that a job writes."""
        if job == "Arrow":
            return (self._folder / "again.arrows").stat().st_size
        if job == "JSON lines":
            with subprocess.Popen(self.command(job, sockets), stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                return sum(map(len, iter(lambda: child.stdout.read(1 << 20), b"")))
        return 0


def timed(program: str, argument: object) -> float:
    """Runs a program that prints nanoseconds. Returns seconds."""
    return int(subprocess.check_output([sys.executable, "-c", program, str(argument)])) / 1e9


def compare(bench: Bench, sockets: int) -> dict[str, float]:
    """Prints a table of the jobs and the limits. Returns records per second by job."""
    path = bench.recording(sockets)
    size = path.stat().st_size
    print(f"\n{sockets:,} sockets, {size / 1e6:.0f} MB, {size / sockets:.0f} bytes each")
    print(f"{'':<28}{'records/s':>13}{'ns each':>9}{'of target':>11}{'x a copy':>10}{'peak MB':>9}{'start s':>9}")
    rates = {}
    for job in ("aggregates", "JSON lines", "Arrow"):
        spent = bench.run(job, sockets)
        rates[job] = sockets / spent.took_s
        target = f"{rates[job] / TARGETS[job]:.2f}" if job in TARGETS else "-"
        moved = timed(COPY, size + bench.written(job, sockets))
        print(
            f"replay to {job:<18}{rates[job]:>13,.0f}{1e9 / rates[job]:>9,.0f}{target:>11}{spent.took_s / moved:>10.0f}"
            f"{spent.peak_mb:>9.0f}{bench.start(job).cpu_s:>9.2f}"
        )
    limits = {
        "limit: pyarrow reads it": timed(READ, path),
        "limit: cat FILE > /dev/null": bench.run("cat", sockets).took_s,
        "limit: numpy copies it": timed(COPY, size),
    }
    for name, seconds in limits.items():
        print(f"{name:<28}{sockets / seconds:>13,.0f}{1e9 * seconds / sockets:>9,.1f}")
    return rates


def grow(bench: Bench, job: str, max_sockets: int) -> None:
    """Prints the cost of a job by the length of the recording."""
    print(f"\n{job + ', of':<20}{'CPU s':>9}{'less its start':>16}{'records/s':>12}{'peak MB':>9}")
    for sockets in (10**power for power in range(4, 8)):
        if sockets <= max_sockets:
            spent = bench.run(job, sockets)
            # Less than that is only the difference between two starts.
            rate = f"{sockets / spent.took_s:,.0f}" if spent.took_s > 0.02 else "-"
            print(f"{sockets:>12,} sockets{spent.cpu_s:>9.2f}{spent.took_s:>16.3f}{rate:>12}{spent.peak_mb:>9.0f}")


def compare_peers(options: argparse.Namespace, json_rate: float) -> None:
    """Prints the rates of the peers over their own recordings of ``options.sockets`` sockets."""
    print()
    for name, (option, how) in PEERS.items():
        path: Path = getattr(options, option)
        if not path.exists():
            print(f"{name}: there is no {path}; make it in the VM: {how}")
        elif options.sockets is None:
            print(f"{name}: give --sockets, the number of sockets in {path}")
        else:
            rate = options.sockets / cost([*name.split(), "-i", str(path)], options.repeat).cpu_s
            print(f"{name}: {rate:,.0f} sockets/s, replay to JSON lines is {json_rate / rate:.1f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-sockets", type=int, default=10**7, help="in the longest recording (2.2 GB for 10^7)")
    parser.add_argument("--repeat", type=int, default=5, help="number of processes; each figure is their median")
    parser.add_argument("--trace-dat", type=Path, default=Path("build/bench/trace.dat"), help="recording of trace-cmd")
    parser.add_argument("--perf-data", type=Path, default=Path("build/bench/perf.data"), help="recording of perf")
    parser.add_argument("--sockets", type=int, help="number of sockets in these two")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.repeat)
        print(f"CPU time, user and system, of a separate process; the median of {options.repeat}")
        rates = compare(bench, min(options.max_sockets, 10**6))
        grow(bench, "aggregates", options.max_sockets)
        grow(bench, "JSON lines", min(options.max_sockets, 10**6))
        compare_peers(options, rates["JSON lines"])


if __name__ == "__main__":
    main()
