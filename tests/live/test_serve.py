"""`inetprobe serve` as an SRE runs it: a real Prometheus scrapes it while programs make known sockets."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from inetprobe.base.uapi import ERRNOS, FAMILIES, PROTOCOLS, TYPES
from inetprobe.kernel.host import privileges
from tests.live.conftest import MECHANISMS, Forked, command
from tests.live.conftest import inetprobe as run_inetprobe
from tests.live.known import make_known
from tests.support.prometheus import Prometheus, free_port, promtool

NAME = "counted"
PROLOGUE = f"import ctypes; ctypes.CDLL(None).prctl(15, {NAME!r}.encode())\n"  # PR_SET_NAME
OUTCOME = ("family", "socket_type", "protocol")
SETTINGS = {"scrape_interval": "1s", "scrape_timeout": "1s"}


class Served:
    """A running `inetprobe serve`; ``out`` and ``err`` are its output so far."""

    def __init__(self, process, port, out, err):
        self.process = process
        self.port = port
        self._out, self._err = out, err

    @property
    def out(self):
        return self._out.read_text()

    @property
    def err(self):
        return self._err.read_text()

    def get(self, path, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def status(self):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def ready(self):
        with contextlib.suppress(OSError):  # it does not listen yet, or does not answer while it attaches
            return bool(self.get("/readyz"))
        return False


@contextlib.contextmanager
def serving(*options, forked=True):
    """Counts the sockets of programs that begin with PROLOGUE; serve is ready in the body, and ends after it."""
    port = free_port()
    argv = ("serve", "--listen", f"127.0.0.1:{port}", "--comm", NAME, *options)
    folder = Path(tempfile.mkdtemp())
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        if forked:
            process = Forked(argv, out, err)
        else:
            process = subprocess.Popen(command(*argv), stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        served = Served(process, port, folder / "out", folder / "err")
        try:
            wait(served.ready, served)
            yield served
        finally:
            if served.process.poll() is None:
                served.process.send_signal(signal.SIGTERM)
            status = served.process.wait(60)
        assert status == 0, served.err
        assert "Traceback" not in served.err


def wait(condition, served, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert served.process.poll() is None, served.err
        assert time.monotonic() < deadline, served.err
        time.sleep(0.1)


def run(program):
    subprocess.run([sys.executable, "-c", PROLOGUE + program], check=True, timeout=300)


def labels(family, type_, protocol):
    return FAMILIES[family], TYPES[type_], PROTOCOLS.get(protocol, str(protocol))


@MECHANISMS
def test_prometheus_has_the_counts_of_the_known_sockets(mechanism, tmp_path):
    with serving("--mechanism", mechanism, "--log-failures") as served:
        scrape = {"job_name": "inetprobe", "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}]}
        with Prometheus({"global": SETTINGS, "scrape_configs": [scrape]}, tmp_path) as prometheus:
            answers = make_known(PROLOGUE)
            run("import socket\nfor _ in range(977): socket.socket(2, 1, 0).close()")
            truth = Counter(labels(*answer[:3]) for answer in answers)
            truth["AF_INET", "SOCK_STREAM", "IPPROTO_IP"] += 977
            failures = Counter((*labels(f, t, p), ERRNOS[error]) for f, t, p, error in answers if error)
            at = prometheus.wait_for("sum(inetprobe_socket_creations_total)", sum(truth.values()))
            creations = prometheus.table("inetprobe_socket_creations_total", *OUTCOME, at=at)
            failed_creations = prometheus.table("inetprobe_socket_creation_failures_total", *OUTCOME, "errno", at=at)
            durations = prometheus.value("sum(inetprobe_socket_creation_duration_seconds_count)", at=at)
            buckets = prometheus.value('sum(inetprobe_socket_creation_duration_seconds_bucket{le="+Inf"})', at=at)
            requests = prometheus.table("inetprobe_module_requests_total", "module", at=at)
            failed_requests = prometheus.table("inetprobe_module_request_failures_total", "module", at=at)
            misses = prometheus.value("sum(inetprobe_probe_misses_total)", at=at)
            hits = prometheus.value('sum(inetprobe_probe_hits_total{function=~"inet6?_create",probe="entry"})', at=at)
            up = prometheus.value("inetprobe_up", at=at), prometheus.value('up{job="inetprobe"}', at=at)
        page = served.get("/metrics")
        checked = promtool("check", "metrics", input=page)
    assert misses == 0
    assert creations == truth
    assert {key: count for key, count in failed_creations.items() if count} == failures
    assert durations == buckets == sum(truth.values())
    assert requests["net-pf-2-proto-200-type-1",] == failed_requests["net-pf-2-proto-200-type-1",] == 1
    assert hits >= sum(truth.values())
    assert up == (1, 1)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    # Each failure is logged as a line of `trace --format json`; so are successes that asked for a module.
    logged = [json.loads(line) for line in served.out.splitlines()]
    logged_failures = [trace for trace in logged if trace["kind"] == "trace" and trace["errno"]]
    assert Counter((*labels(t["family"], t["type"], t["protocol"]), t["errno"]) for t in logged_failures) == failures
    assert all(t["verdict"] == "as_predicted" for t in logged_failures), [t["reason"] for t in logged_failures]
    assert f"{sum(truth.values()):,} calls" in served.err


def test_between_scrapes_serve_is_small_has_no_capabilities_and_does_not_wake_up():
    with serving(forked=False) as served:  # whose memory is its own
        status = served.status()
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        run("import socket\nfor _ in range(100): socket.socket(2, 1, 0).close()")
        page = served.get("/metrics")
        resident = int(served.status()["VmRSS"].split()[0]) / 1024
        series = sum(not line.startswith("#") for line in page.splitlines())
        print(f"{resident:.0f} MB resident, {series} series, {len(page)} bytes")
        before = _switches(served.process.pid)
        time.sleep(5)
        after = _switches(served.process.pid)
    assert resident < 120
    assert series < 400
    # "No work between scrapes": no thread wakes up.
    assert after - before <= 2, f"{after - before} context switches in 5 s"


def _switches(pid):
    tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in tasks for line in text.splitlines() if "voluntary_ctxt" in line)


def test_above_max_rate_the_probes_are_detached_until_the_rate_drops():
    with serving("--mechanism", "kprobe", "--max-rate", "50") as served:
        assert int(served.status()["CapEff"], 16) == sum(1 << number for number in privileges.attaching())
        busy = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + "import socket\nwhile 1: socket.socket(2, 1, 0).close()"]
        )
        wait(lambda: "inetprobe_up 0.0" in served.get("/metrics"), served)
        wait(lambda: "inetprobe_" not in Path("/sys/kernel/tracing/kprobe_events").read_text(), served)
        assert 'inetprobe_probe_attached{function="sk_alloc",mechanism="kprobe",probe="entry"} 0.0' in served.get(
            "/metrics"
        )
        busy.kill()
        busy.wait()
        wait(lambda: "inetprobe_up 1.0" in served.get("/metrics"), served)
        run("import socket\nfor _ in range(7): socket.socket(10, 3, 58).close()")
        page = served.get("/metrics")
    assert 'creations_total{family="AF_INET6",protocol="IPPROTO_ICMPV6",socket_type="SOCK_RAW"} 7.0' in page
    assert "more than 50 sockets per second" in served.err


def test_wrong_options_give_one_sentence_and_attach_nothing(tmp_path):
    config = tmp_path / "web.yml"
    config.write_text("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.key}\n")
    with serving() as served:
        attempts = [
            ("--listen", f"127.0.0.1:{served.port}"),
            ("--listen", "127.0.0.1:0", "--web.config.file", config),
        ]
        for options in attempts:
            done = run_inetprobe("serve", *options)
            assert done.status == 2, done.err
            assert len(done.err.splitlines()) == 1
        assert served.process.poll() is None


def test_once_prints_a_page_and_leaves_no_probe():
    done = subprocess.run(command("serve", "--once"), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "inetprobe_up 1.0" in done.stdout
    assert promtool("check", "metrics", input=done.stdout).returncode == 0
    assert os.geteuid() == 0


def test_the_web_configuration_is_read_again_on_sighup(tmp_path):
    config = tmp_path / "web.yml"
    config.write_text("{}\n")
    with serving("--web.config.file", str(config)) as served:
        # the hash of "secret"
        config.write_text("basic_auth_users:\n  sre: $2b$05$1doHGMEQ8ksTHMIBNDsSC.dtaseKIGR4jJxzsUFlvv/ifewjoTfSO\n")
        served.process.send_signal(signal.SIGHUP)
        wait(lambda: "the web configuration is that of" in served.err, served)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            served.get("/metrics")
