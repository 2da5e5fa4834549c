"""A report of a million sockets: time and peak memory to make it, its size, and the time until Chromium has drawn it.

python -m tests.bench.bench_report [SOCKETS]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import mixed


def main() -> None:
    from playwright.sync_api import sync_playwright

    sockets = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path, page_path = Path(folder) / "bench.arrows", Path(folder) / "report.html"
        mixed.make(path, sockets)
        before = time.monotonic()
        child = subprocess.Popen([sys.executable, "-m", "inetprobe", "report", path, "-o", page_path])
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - before
        assert status == 0
        print(f"report of {sockets:,} sockets, {path.stat().st_size / 1e6:.0f} MB")
        print(f"  made in {took:.1f} s ({sockets / took:,.0f} sockets/s), peak {usage.ru_maxrss / 1024:.0f} MB")
        print(f"  page {page_path.stat().st_size / 1e6:.2f} MB")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for _ in range(3):
            page = browser.new_page()
            before = time.monotonic()
            page.goto(page_path.as_uri())
            page.wait_for_selector("html[data-drawn=yes]")
            print(f"  opened and drawn in {time.monotonic() - before:.2f} s")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
