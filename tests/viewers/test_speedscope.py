"""Folded stacks in speedscope, from npm, in headless Chromium."""

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections import Counter

import pytest
from playwright.sync_api import sync_playwright

from inetprobe.base.cache import cache_folder
from tests.support import recorded, run_command

VERSION = "1.25.0"
_ROW = re.compile(r"([\d,]+) \([<>\d]\S*%\)\s+([\d,]+) \([<>\d]\S*%\)\s+(.*)")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Logs nothing."""


@pytest.fixture(scope="module", name="speedscope")
def _speedscope():
    """The folder of its page, downloaded once per machine; npm checks the registry's digest."""
    folder = cache_folder() / f"speedscope-{VERSION}"
    page = folder / "package/dist/release"
    if not (page / "index.html").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        packed = ["npm", "pack", "--silent", f"speedscope@{VERSION}"]
        archive = subprocess.run(packed, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run(["tar", "-xzf", archive], cwd=folder, check=True)
    return page


@pytest.fixture(name="folded")
def _folded(tmp_path):
    done = run_command.run("export", recorded.every_kind(tmp_path / "kinds.arrows"), "-q", "--to", "folded")
    assert done.returncode == 0
    (tmp_path / "kinds.folded").write_text(done.stdout)
    return tmp_path


def sandwich(speedscope, folded):
    """(total, self, symbol) of every row of its table, and the console's messages."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=speedscope)) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--enable-unsafe-swiftshader"]  # it draws by WebGL
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            said, failed = [], []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: failed.append(error))
            page.route("**/kinds.folded", lambda route: route.fulfill(path=folded / "kinds.folded"))
            page.goto(f"http://127.0.0.1:{pages.server_port}/#profileURL=kinds.folded&title=kinds&view=sandwich")
            page.get_by_text("Symbol Name").wait_for(timeout=60_000)
            rows = [_ROW.fullmatch(row.strip()) for row in page.locator("tbody tr, tr").all_inner_texts()]
            browser.close()
        pages.shutdown()
    assert failed == []
    found = [(int(r[1].replace(",", "")), int(r[2].replace(",", "")), r[3]) for r in rows if r is not None]
    return found, said


def test_speedscope_reads_folded_stacks_with_names_and_times(speedscope, folded):
    own, total = Counter(), Counter()
    for line in (folded / "kinds.folded").read_text().splitlines():
        stack, _, time = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(time)
        for frame in set(frames):
            total[frame] += int(time)
    found, said = sandwich(speedscope, folded)
    assert "Importing as collapsed stack format" in said
    assert sorted(found) == sorted((total[name], own[name], name) for name in total)
    assert 'a\\x1b[31m\\x0a\\xff\\\\"' in total
