"""The page of ``report`` in a real browser: it opens from a file, offline, is accessible, and prints."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from inetprobe.record.accounting import Accounting
from tests.support import builders, mixed, recorded

SCHEMES = ("light", "dark")
WIDTHS = (1400, 380)


def report(out, *argv):
    subprocess.run([sys.executable, "-m", "inetprobe", "report", "-q", "-o", out, *argv], check=True)
    return out


@pytest.fixture(scope="session", name="made")
def made_pages(tmp_path_factory):
    """Pages by name: of a mixed workload, of it with a baseline, and of hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    after, before, bad, short = (folder / f"{name}.arrows" for name in ("after", "before", "hostile", "short"))
    mixed.make(after, 20_000)
    mixed.make(before, 15_000, slower=0.7)
    make_hostile(bad)
    recorded.write(short, seconds(4))
    return {
        "mixed": report(folder / "mixed.html", after),
        "compared": report(folder / "compared.html", after, "--baseline", before),
        "hostile": report(folder / "hostile.html", bad),
        "short": report(folder / "short.html", short),
    }


def seconds(long):
    """A socket every tenth of a second, for this time."""
    records = np.tile(builders.created(), 10 * long)
    records["start_ns"] += np.arange(len(records), dtype=np.uint64) * np.uint64(100_000_000)
    return records


def make_hostile(path):
    records = np.tile(builders.every_kind(), 4)
    names = [b"<img src=x onerr", b"</script><b>", b"'\"><svg onload=", b"\xe2\x80\xae\xe2\x80\xa8{{7*7}}"]
    records["comm"] = np.repeat(np.array(names), 12)
    records["prot"][records["prot"] != b""] = b"<script>alert(1)</script>"
    run = builders.run()
    run.cgroups = {
        1: "/</title></style></script><script>alert('cgroup')</script><img src=//example.org/x onerror=alert(1)>"
    }
    run.host = "<iframe src=javascript:alert(1)>"
    recorded.write(path, records, Accounting(48, 44, {"return_missed": 4}), run)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["mixed", "compared", "hostile"])
def test_a_page_opens_offline_and_is_accessible(made, open_page, name, scheme, width):
    opened = open_page(made[name], scheme, width)
    assert opened.complaints == []
    assert opened.requests == [made[name].as_uri()]
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    # Nothing is wider than the window: wide tables scroll in a frame of their own.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_calls_of_a_trace_are_not_cut_off(made, open_page, width):
    page = open_page(made["mixed"], width=width).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    cut = page.locator("table.bars").evaluate_all(
        "(tables) => tables.map((one) => one.getBoundingClientRect().width - one.parentElement.clientWidth)"
    )
    assert cut
    assert max(cut) <= 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_follows_the_colour_scheme(made, open_page, scheme):
    page = open_page(made["mixed"], scheme).page
    other = {"light": "dark", "dark": "light"}[scheme]
    assert lightness(page) == scheme
    button = page.get_by_role("button", name="Theme")
    button.click()  # light
    assert lightness(page) == "light"
    button.click()  # dark
    assert lightness(page) == "dark"
    button.click()  # as the system
    assert lightness(page) == scheme
    page.emulate_media(color_scheme=other)
    assert lightness(page) == other


@pytest.mark.parametrize("name", ["mixed", "short"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axis_labels_do_not_overlap(made, open_page, name, width):
    page = open_page(made[name], width=width).page
    axes = page.locator("#timeline-section svg [aria-label='x-axis tick label']").evaluate_all(
        "(axes) => axes.map((axis) => [...axis.querySelectorAll('text')].map((one) => one.getBoundingClientRect()))"
    )
    assert axes
    for labels in axes:
        assert len(labels) >= 2
        assert all(one["right"] + 4 <= other["left"] for one, other in itertools.pairwise(labels))


def lightness(page):
    rgb = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number)")
    return "light" if sum(rgb[:3]) > 3 * 128 else "dark"


def test_a_click_opens_a_trace_to_its_calls(made, open_page):
    page = open_page(made["mixed"]).page
    second = page.locator("#slowest details.trace").nth(1)
    calls = second.locator("table.bars tbody tr")
    assert calls.first.is_hidden()
    second.locator("summary").click()
    assert calls.first.is_visible()
    assert calls.first.inner_text().startswith("inet_create")
    places = second.locator(".bar").evaluate_all("(bars) => bars.map((bar) => bar.getBoundingClientRect())")
    outer, *inner = places
    assert inner
    assert all(outer["left"] - 1 <= one["left"] and one["right"] <= outer["right"] + 1 for one in inner)
    second.locator("summary").click()
    assert calls.first.is_hidden()


def test_a_key_opens_a_trace(made, open_page):
    page = open_page(made["mixed"]).page
    second = page.locator("#slowest details.trace").nth(1)
    second.locator("summary").focus()
    page.keyboard.press("Enter")
    assert second.locator("table.bars").is_visible()


def test_open_all_opens_all_and_closes_them(made, open_page):
    page = open_page(made["mixed"]).page
    traces = page.locator("#slowest-list details")
    page.get_by_role("button", name="Open all").click()
    assert traces.evaluate_all("(all) => all.every((one) => one.open)")
    page.get_by_role("button", name="Close all").click()
    assert not traces.evaluate_all("(all) => all.some((one) => one.open)")


def test_every_chart_is_drawn_from_the_page_s_numbers(made, open_page):
    page = open_page(made["compared"]).page
    places = page.locator("[data-chart]")
    assert places.count() == 4 + 5 + 5  # two timelines of two charts, five functions, five stages
    assert places.evaluate_all("(all) => all.every((one) => one.querySelector('svg rect, svg circle'))")
    assert places.evaluate_all("(all) => all.every((one) => one.getAttribute('aria-label'))")
    counted = page.locator("#charts").evaluate("(one) => JSON.parse(one.textContent).timeline.bins")
    table = page.locator("#timeline-section details table").first
    assert table.locator("tbody tr").count() == len(counted)
    assert page.locator("#timeline-section [data-chart=timeline] rect").count() >= len(counted)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chart_describes_the_bar_under_the_pointer(made, open_page, scheme):
    page = open_page(made["mixed"], scheme).page
    chart = page.locator("[data-chart=timeline]").first
    chart.hover(position={"x": 400, "y": 60})
    tip = chart.locator("[aria-label=tip] text")
    tip.wait_for()
    assert "created" in tip.text_content()
    paper = chart.locator("[aria-label=tip] path").evaluate("(path) => getComputedStyle(path).fill")
    assert paper == page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_without_scripts_everything_but_the_charts_is_there(made, open_page):
    page = open_page(made["mixed"], java_script_enabled=False).page
    page.locator("#slowest details.trace summary").nth(2).click()
    assert page.locator("#slowest details.trace table.bars").nth(2).is_visible()
    assert page.get_by_text("The charts need JavaScript").is_visible()
    assert page.get_by_role("button", name="Theme").is_hidden()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hostile_names_are_text(made, open_page, scheme):
    opened = open_page(made["hostile"], scheme)
    page = opened.page
    time.sleep(0.2)  # time for anything to load or pop up
    assert opened.complaints == []
    assert opened.requests == [made["hostile"].as_uri()]
    for tag in ("img", "iframe", "b", "object", "svg[onload]"):
        assert page.locator(f"body {tag}").count() == 0
    assert page.locator("script").count() == 4
    text = page.locator("#who").inner_text()
    assert "<img src=x onerr" in text
    assert "\\u202e\\u2028{{7*7}}" in text
    assert "<script>alert('cgroup')</script><img src=//example.org/x onerror=alert(1)>" in text
    assert "<iframe src=javascript:alert(1)>" in page.locator("#trust").inner_text()


def test_the_policy_stops_any_other_script(made, open_page, tmp_path):
    """If markup ever gets through, the policy must stop it."""
    text = made["mixed"].read_text()
    path = tmp_path / "broken.html"
    path.write_text(text.replace("<main>", "<main><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"))
    opened = open_page(path)
    assert opened.page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in said for said in opened.complaints) >= 2


def test_the_page_prints_light_and_complete(made, open_page, tmp_path):
    page = open_page(made["mixed"], "dark").page
    page.emulate_media(media="print")
    assert lightness(page) == "light"
    assert page.locator("nav").is_hidden()
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every((one) => getComputedStyle(one).overflowX == 'visible')"
    )
    printed = page.pdf(path=tmp_path / "r.pdf", format="A4")
    assert printed.startswith(b"%PDF-")
    said = subprocess.run(["pdftotext", "-layout", tmp_path / "r.pdf", "-"], capture_output=True, text=True, check=True)
    assert "What failed, and why" in said.stdout
    assert "EPROTONOSUPPORT" in said.stdout
    assert "How far to trust this page" in said.stdout
    assert "Theme:" not in said.stdout


def test_a_page_of_a_million_sockets_opens_in_two_seconds_and_is_small(open_page, tmp_path):
    path = tmp_path / "million.arrows"
    mixed.make(path, 1_000_000)
    page = report(tmp_path / "million.html", path)
    assert page.stat().st_size < 5_000_000
    began = time.monotonic()
    opened = open_page(page)
    assert time.monotonic() - began < 2
    assert opened.complaints == []
    assert "994,989 sockets" in opened.page.locator("h1").inner_text()
