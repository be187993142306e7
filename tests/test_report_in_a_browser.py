"""The published report in a real browser: it loads by itself, shows every chart, answers, and all can use it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import launch_options

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

PAGE = Path(__file__).parents[1] / "results/full/report.html"
pytestmark = pytest.mark.skipif(not (PAGE.parent / "runs").exists(), reason="nothing is published yet")
POINTS = "#chart-accuracy path[aria-label*='record: runs']"
COUNT = "([points, before]) => document.querySelectorAll(points).length"
SIZES = {"wide": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(**launch_options())
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join)
def page(chromium: "playwright.Browser", request: pytest.FixtureRequest) -> Iterator["playwright.Page"]:
    """The page, its charts drawn; `said` is what its console said and which addresses it asked for."""
    size, scheme = request.param
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened = context.new_page()
    opened.said = []
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.on("request", lambda asked: opened.said.append(asked.url) if not asked.url.startswith("data:") else None)
    load(opened)
    yield opened
    context.close()


def load(page: "playwright.Page") -> None:
    page.goto("about:blank")
    page.goto(PAGE.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")


def test_it_asks_for_itself_alone_and_says_nothing_in_the_console(page: "playwright.Page") -> None:
    assert [said for said in page.said if said != "about:blank"] == [PAGE.as_uri()]


def test_every_chart_and_figure_is_drawn_within_the_screen(page: "playwright.Page") -> None:
    charts = page.locator(".vega")
    assert charts.count() >= 9  # ten once an oddity has its runs again
    for chart in charts.all():
        box = chart.locator("svg").bounding_box()
        assert box["width"] > 250
        assert box["height"] > 100
        assert chart.locator("svg path").count() > 5
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_a_point_says_what_it_is_and_leads_to_its_record(page: "playwright.Page") -> None:
    load(page)
    point = page.locator(POINTS).last
    point.evaluate("point => point.scrollIntoView({block: 'center'})")
    point.hover(force=True)  # or another, where another lies on top of it
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for()
    said = dict(zip(*(tip.locator(f"td.{kind}").all_inner_texts() for kind in ("key", "value")), strict=True))
    record = json.loads((PAGE.parent / said["record"]).read_text())
    assert (said["experiment"], int(said["seed"])) == (record["experiment"], record["seed"])
    assert float(said["value"]) == pytest.approx(record["metrics"]["test/accuracy"], rel=1e-4)
    with page.expect_navigation():
        point.click(force=True)
    assert page.url == (PAGE.parent / said["record"]).as_uri()
    load(page)


def test_rows_and_charts_of_a_system_go_and_come_back(page: "playwright.Page") -> None:
    box = page.get_by_role("checkbox", name="Blog ViT")
    rows = page.locator("#does-it-reproduce tr[data-systems=blog_vit]")
    points = page.locator(POINTS)
    curve = page.locator("#chart-curve-blog_vit-train-loss")
    before = points.count()
    assert rows.first.is_visible()
    assert curve.is_visible()
    box.uncheck()
    assert not rows.first.is_visible()
    assert not curve.is_visible()
    page.wait_for_function(COUNT + " < before", arg=[POINTS, before])
    box.check()
    assert rows.first.is_visible()
    page.wait_for_function(COUNT + " === before", arg=[POINTS, before])


def test_what_was_hidden_is_hidden_after_coming_back_and_whole_when_it_is_shown_again(page: "playwright.Page") -> None:
    load(page)
    box = page.get_by_role("checkbox", name="Blog CNN")
    box.uncheck()
    page.locator("#records-vit16_tiny summary").click()
    with page.expect_navigation():
        page.locator("#records-vit16_tiny a").first.click()
    page.go_back()
    page.wait_for_selector("html[data-ready]", state="attached")
    curve = page.locator("#chart-curve-blog_cnn-train-loss")
    assert not box.is_checked()
    assert not curve.is_visible()
    size = page.viewport_size
    page.set_viewport_size(size | {"width": size["width"] - 40})
    box.check()
    page.wait_for_function("chart => chart.querySelector('svg').clientWidth > 250", arg=curve.element_handle())
    page.set_viewport_size(size)


def test_a_number_leads_to_its_records_which_open(page: "playwright.Page") -> None:
    records = page.locator("#records-vit16_tiny")
    assert records.get_attribute("open") is None
    page.locator("#does-it-reproduce a[href='#records-vit16_tiny']").first.click()
    page.wait_for_selector("#records-vit16_tiny[open]")
    seeds = records.locator("a")
    assert seeds.count() == 10
    assert all((PAGE.parent / seed.get_attribute("href")).is_file() for seed in seeds.all())


def test_the_keyboard_reaches_the_verdicts_first_and_works_the_filter(page: "playwright.Page") -> None:
    load(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the verdicts"
    box = page.get_by_role("checkbox", name="Blog CNN")
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    page.keyboard.press("Space")
    assert box.is_checked()


def test_an_automated_check_of_accessibility_finds_nothing(page: "playwright.Page") -> None:
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_on_paper_the_charts_are_there_and_the_filter_only_where_it_filters(page: "playwright.Page") -> None:
    page.emulate_media(media="print")
    assert page.locator("#chart-accuracy svg").is_visible()
    assert not page.locator(".filter").is_visible()
    page.emulate_media(media="screen")
    box = page.get_by_role("checkbox", name="Blog CNN")
    box.uncheck()
    page.emulate_media(media="print")
    assert page.locator(".filter").is_visible()  # else nothing said that something is left out
    page.emulate_media(media="screen")
    box.check()
