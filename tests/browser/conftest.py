"""Debian's Chromium, headless and offline."""

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"


@dataclass
class Opened:
    """A page, with everything it did that it should not do."""

    page: object
    complaints: list = field(default_factory=list)
    requests: list = field(default_factory=list)


@pytest.fixture(scope="session", name="chromium")
def started_chromium():
    # --no-sandbox: as root Chromium refuses to start with it.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="open_page")
def page_opener(chromium):
    """Opens a file: ``scheme`` light or dark, ``width`` in pixels; waits until its charts are there."""
    contexts = []

    def opened(path, scheme="light", width=1400, **options):
        context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            found.page.wait_for_selector("html[data-drawn=yes]")
        return found

    yield opened
    for context in contexts:
        context.close()
