"""`make soak`: `serve` and `record` among all that happens to a machine in months, for SOAK_SECONDS."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.live.conftest import accounted, command

SECONDS = float(os.environ.get("INETPROBE_SOAK_SECONDS", "3600"))
TRACEFS = Path("/sys/kernel/tracing/kprobe_events")
PORTS = 10924, 10925
CHURN = ("sockets",), ("cgroups",), ("modules",), ("clock",), ("cpus",), ("clients", PORTS[0]), ("bursts",)
#: Of the time, until what is bounded has reached its bound.
WARM = 0.3


def reading(pid):
    """Resident kB, descriptors, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["VmRSS"].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(fields["Threads"])


@contextlib.contextmanager
def started(log, said, *argv):
    """inetprobe ARGV, once it has ``said`` so into the file ``log``; its end is the test's."""
    with log.open("w") as err:
        process = subprocess.Popen(command(*argv), stderr=err, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while said not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        process.log = log
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def ended(process):
    """The last words of a process that is asked to end."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    text = process.log.read_text()
    assert "Traceback" not in text, text
    return text.splitlines()[-1]


def flat(readings, most):
    """No reading of the later part is beyond ``most`` times the highest of the first."""
    warm = int(len(readings) * WARM)
    return max(readings[warm:]) <= max(readings[:warm]) * most


def test_nothing_grows_and_nothing_is_lost_untold(tmp_path):
    config, recording = tmp_path / "web.yml", tmp_path / "soak.arrows"
    config.write_text("http_server_config:\n  headers:\n    X-Frame-Options: deny\n")
    with contextlib.ExitStack() as stack:
        listening = [("--web.listen-address", f"127.0.0.1:{port}") for port in PORTS]
        configured = ("--web.config.file", config, "--log-failures")
        serve = stack.enter_context(started(tmp_path / "serve", "serving", "serve", *listening[0], *configured))
        breaker = stack.enter_context(
            started(tmp_path / "breaker", "serving", "serve", *listening[1], "--max-rate", "500")
        )
        record = stack.enter_context(started(tmp_path / "record", "tracing", "record", "-o", recording))
        watched = {"serve": serve, "serve --max-rate": breaker, "record": record}
        churn = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak.churn", name, str(SECONDS), *map(str, rest)],
                stdout=subprocess.PIPE, text=True,
            )
            for name, *rest in CHURN
        ]  # fmt: skip
        readings, probes, stopped = {name: [] for name in watched}, [], 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            serve.send_signal(signal.SIGHUP)
            for name, process in watched.items():
                readings[name].append(reading(process.pid))
            probes.append(len(TRACEFS.read_text().splitlines()))
            if stopped < 2 and time.monotonic() > end - SECONDS * (0.7 - 0.3 * stopped):
                stopped += 1
                record.send_signal(signal.SIGSTOP)
                time.sleep(min(60, SECONDS / 10))
                record.send_signal(signal.SIGCONT)
            time.sleep(min(10, SECONDS / 100))
        made = {
            name: int(process.communicate(timeout=300)[0]) for (name, *_), process in zip(CHURN, churn, strict=True)
        }
        time.sleep(15)  # the web server's idle clients have gone
        for name, process in watched.items():
            readings[name].append(reading(process.pid))
        last = {name: ended(process) for name, process in watched.items()}
    replayed = subprocess.run(
        command("replay", recording, "--format", "json", "--errno", "ENOPKG"),
        capture_output=True,
        text=True,
        check=True,
    )
    summary = json.loads(replayed.stdout.splitlines()[-1])
    print(f"\n{SECONDS:.0f} s, trouble made: {made}")
    for name, of_one in readings.items():
        kb, fds, threads = zip(*of_one, strict=True)
        warm = int(len(kb) * WARM)
        print(
            f"{name}: {kb[warm] / 1024:.0f} → {kb[-1] / 1024:.0f} MB resident (most {max(kb) / 1024:.0f}), "
            f"{fds[warm]} → {fds[-1]} descriptors (most {max(fds)}), {threads[warm]} → {threads[-1]} threads; "
            f"{last[name]}"
        )
    print(f"record: {json.dumps(summary)}")
    for name, of_one in readings.items():
        kb, fds, threads = zip(*of_one, strict=True)
        assert flat(kb, 1.15), name
        assert flat(threads, 1), name
        assert fds[-1] <= fds[0] + 2, name
        assert "UNACCOUNTED" not in last[name]
    assert accounted(summary)
    assert max(probes) <= probes[0]
    assert all(made.values())
