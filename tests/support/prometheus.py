"""A Prometheus for tests: Debian's, on a port of its own, with its data in a folder of the test's.

``python -m tests.support.prometheus`` fetches it where there is none, and says where it is.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import yaml

from inetprobe.base.cache import cache_folder
from inetprobe.base.errors import InetprobeError
from inetprobe.vm import debian

_START_S = 60.0
_STOP_S = 30.0


def programs(progress=lambda line: None):
    """The folder with ``prometheus`` and ``promtool``: that of PATH, else the package unpacked into the cache, since an
    installed one would begin to serve."""
    found = shutil.which("prometheus")
    if found and shutil.which("promtool", path=str(Path(found).parent)):
        return Path(found).parent
    folder = cache_folder() / "prometheus"
    if (
        cached := _program(folder)
    ) is not None:  # in a VM the cache belongs to a user of its host, who need not be root
        return cached.parent
    wanted = debian.PackageSet("Prometheus", debian.codename() or "stable", lambda apt: ("prometheus",), _program)
    return debian.ensure(wanted, folder, progress).parent


def _program(folder):
    program = folder / "usr/bin/prometheus"
    return program if program.is_file() else None


def promtool(*argv, **options):
    """`promtool ARGV`, done."""
    command = [programs() / "promtool", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def config(path, targets, **changes):
    """The configuration at ``path``, with its rules, every second, for ``targets`` (HOST:PORT); ``changes`` are put in
    last."""
    made = yaml.safe_load(path.read_text())
    made["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    if "rule_files" in made:
        made["global"]["evaluation_interval"] = "1s"
        made["rule_files"] = [str(path.parent / name) for name in made["rule_files"]]
    for scrape in made["scrape_configs"]:
        scrape["static_configs"] = [{"targets": list(targets)}]
    return made | changes


class Prometheus(AbstractContextManager):
    """A running server. ``config`` is its configuration as Python has it, ``flags`` go behind its own."""

    def __init__(self, config, folder, *flags, port=None):
        self.port = port or free_port()
        self._log = folder / "prometheus.log"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            str(programs() / "prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *flags,
        ]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        with ExitStack() as undo:
            undo.push(self)
            self.wait(self._ready, "Prometheus to be ready", _START_S)
            undo.pop_all()

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path, **parameters):
        """The ``data`` of an answer of the HTTP API; a refusal fails the test with Prometheus' own words."""
        status, body = self._request(f"/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}")
        answer = json.loads(body)
        assert status == 200, f"{path} {parameters}: {answer.get('error', body)}"
        return answer["data"]

    def query(self, expr, at=None):
        """[(labels, value), …] of an instant query, now or for a time that ``wait_for`` gave."""
        rows = self.get("query", query=expr, time=at or time.time())["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows]

    def value(self, expr, at=None):
        """The one value that there must be."""
        rows = self.query(expr, at)
        assert len(rows) == 1, f"{expr}: {rows}"
        return rows[0][1]

    def table(self, metric, *labels, at=None):
        """Every value of a metric by the values of ``labels``, which must tell them apart."""
        rows = self.query(metric, at)
        found = {tuple(row[label] for label in labels): value for row, value in rows}
        assert len(found) == len(rows), f"{metric}: {labels} are not all its labels"
        return found

    def query_range(self, expr, seconds=60, step=1):
        """[(labels, values), …] of a range query that ends now."""
        end = time.time()
        rows = self.get("query_range", query=expr, start=end - seconds, end=end, step=step)["result"]
        return [(row["metric"], [float(value) for _, value in row["values"]]) for row in rows]

    def wait(self, condition, what, seconds=30.0):
        """What ``condition`` returns as soon as it is true; fails after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            assert self._process.poll() is None, f"Prometheus has ended: {self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}: {self._log.read_text()[-2000:]}"
            time.sleep(0.1)
        return result

    def wait_for(self, expr, value, seconds=30.0):
        """The time at which the one value of ``expr`` is this: a scrape has succeeded then. On a busy machine a later
        one may fail, and its series end."""

        def reached():
            at = time.time()
            return [found for _, found in self.query(expr, at)] == [value] and at

        return self.wait(reached, f"{expr} == {value}", seconds)

    def _ready(self):
        try:
            return self._request("/-/ready")[0] == 200
        except OSError:
            return False

    def _request(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


if __name__ == "__main__":
    try:
        print(programs(lambda line: print(f"prometheus: {line}", file=sys.stderr)))
    except InetprobeError as error:
        sys.exit(f"prometheus: {error}")
