"""One Prometheus for all tests here: it scrapes a replayed workload that grows, and an exporter of made-up counts."""

import contextlib
import http.client
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import prometheus_client
import pytest
import yaml

from inetprobe.commands.serve.metrics.collector import SnapshotCollector
from inetprobe.commands.serve.stream import StreamCounts
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.snapshot import Histogram, MapFill, OutcomeKey, Probe, ProgramCost, Snapshot
from tests.prometheus import workload
from tests.support.prometheus import Prometheus, config, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


class Growing:
    """Counts that grow at each scrape, with those no recording has: the cost of programs and the fill of maps."""

    def __init__(self):
        self.scrapes = 0

    def snapshot(self):
        self.scrapes += 1
        n = self.scrapes
        counts = (n, *[0] * len(DEFAULT_BOUNDS_NS))
        return Snapshot(
            DEFAULT_BOUNDS_NS,
            entries=n,
            outcomes={OutcomeKey(2, 1, 0, 0): n},
            call_durations={"inet_create": Histogram(counts, 300 * n)},
            creation_durations={(2, 1): Histogram(counts, 300 * n)},
            probes={("inet_create", "entry"): Probe("kprobe", True, n, 0)},
            programs={"entry_inet_create": ProgramCost(500 * n, n)},
            maps={"outcomes": MapFill(1, 4096)},
        )


@contextlib.contextmanager
def serving(recording, port):
    """Runs `inetprobe serve --replay`, which is ready when this yields."""
    argv = ["serve", "--replay", recording, f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen([sys.executable, "-m", "inetprobe", *map(str, argv)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stderr.close()


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="session", name="real")
def scraping(tmp_path_factory):
    """``prometheus`` scrapes ``replayed`` and ``counted`` (instances); ``above`` federates from it, ``written`` gets
    its remote writes."""
    folders = [tmp_path_factory.mktemp(name) for name in ("below", "above", "written", "recordings")]
    first, second = (workload.write(folders[3] / f"{n}.arrows", n) for n in (0, 1))
    port = free_port()
    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(Growing(), StreamCounts))
    counted, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    replayed, made_up = f"127.0.0.1:{port}", f"127.0.0.1:{counted.server_port}"
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(counted.server_close)
        stack.callback(counted.shutdown)
        receiver = {"global": {}, "scrape_configs": []}
        written = stack.enter_context(Prometheus(receiver, folders[2], "--web.enable-remote-write-receiver"))
        source = DEPLOY / "prometheus/remote_write.yml"
        (remote,) = yaml.safe_load(source.read_text())["remote_write"]
        remote["url"] = f"http://127.0.0.1:{written.port}/api/v1/write"
        below = config(source, [replayed, made_up], remote_write=[remote])
        with serving(first, port):
            prometheus = stack.enter_context(Prometheus(below, folders[0], "--enable-feature=exemplar-storage"))
            prometheus.wait_for(
                f'sum(inetprobe_socket_creations_total{{instance="{replayed}"}})', workload.FIRST_SOCKETS
            )
        stack.enter_context(serving(second, port))
        prometheus.wait_for(f'sum(inetprobe_socket_creations_total{{instance="{replayed}"}})', workload.SOCKETS)
        upper = config(DEPLOY / "prometheus/federate.yml", [f"127.0.0.1:{prometheus.port}"])
        above = stack.enter_context(Prometheus(upper, folders[1]))
        settled(prometheus)
        yield SimpleNamespace(prometheus=prometheus, above=above, written=written, replayed=replayed, counted=made_up)


def settled(prometheus):
    """Waits until recording rules over other recording rules include the second recording."""
    rate = "sum(job_family_type_errno:inetprobe_socket_creation_failures:rate5m) > 0"
    prometheus.wait(lambda: prometheus.query(rate), rate)
    evaluated = time.time()
    prometheus.wait(lambda: all_evaluated_since(prometheus, evaluated + 1), "every rule to be evaluated again")


def all_evaluated_since(prometheus, when):
    groups = prometheus.get("rules")["groups"]
    return all(datetime.fromisoformat(group["lastEvaluation"]).timestamp() > when for group in groups)
