"""The demo: what it answers is what the models answer; and in a real browser it is drawn on, clicked and read."""

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import launch_options, served

from pixelpatch.errors import UserError
from pixelpatch.record import read_record

gradio = pytest.importorskip("gradio")
demo = pytest.importorskip("pixelpatch.demo")
playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "results/full/weights"
published = pytest.mark.skipif(not (WEIGHTS.parent / "runs").exists(), reason="nothing is published yet")


@pytest.fixture(scope="module")
def made(mnist: Path) -> "demo.Demo":
    return demo.Demo(WEIGHTS, mnist, seed=0)


@published
def test_shuffled_digits_are_read_as_the_model_reads_them(made: "demo.Demo") -> None:
    right = 0
    for _ in range(20):
        cells = made.shuffled()
        grid, steps, said = made.read(cells)
        assert grid.shape == (56 * 6, 56 * 6)
        labels = " ".join(str(label) for _, label in cells)
        read = re.search(r"\*\*(.*?)\*\*", said)[1]
        assert said.endswith("correct.") == (read == labels)
        right += read == labels
        assert [words.split(",")[0] for _, words in steps] == read.split(" ")
        assert all(image.shape == (56 * 6, 56 * 6, 3) for image, _ in steps)
    assert right > 15  # of the 92 % that it is right on


@published
def test_test_digits_are_classified_as_in_the_records(made: "demo.Demo") -> None:
    """Also in the demo's company of other images, but for the model whose images attend to each other."""
    chosen = range(5000, 5100)
    records = {
        name.partition("-")[0]: read_record(ROOT / f"results/full/runs/{name}/seed0.json")["predictions"]
        for name in (one.experiment for one in made.classifiers)
    }
    agree = dict.fromkeys(records, 0)
    for image in chosen:
        for experiment, _, answer, probability, second in made.classify(made.digits[image]):
            assert 0.1 < float(probability) <= 1
            assert answer != second
            agree[experiment] += str(answer) == records[experiment][image]
    assert agree.pop("blog_vit", len(chosen)) >= 0.9 * len(chosen)  # where it is published
    assert set(agree.values()) == {len(chosen)}


def test_a_demo_without_weights_is_one_sentence(tmp_path: Path, mnist: Path) -> None:
    with pytest.raises(UserError, match="has no weights"):
        demo.Demo(tmp_path, mnist)


def test_a_space_names_the_gradio_that_is_tested() -> None:
    about = (ROOT / "space/README.md").read_text(encoding="utf-8").split("---")[1]
    assert yaml.safe_load(about)["sdk_version"] == gradio.__version__
    assert f"gradio=={gradio.__version__}\n" in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_ink_is_what_is_dark_and_opaque() -> None:
    composite = np.zeros((3, 3, 4), np.uint8)
    composite[0] = (0, 0, 0, 255)  # a black stroke
    composite[1] = (255, 255, 255, 255)  # white paper
    assert demo.ink({"composite": composite}).tolist() == [[255] * 3, [0] * 3, [0] * 3]
    assert demo.ink(None).max() == demo.ink({"composite": None}).max() == 0


# In a browser


@pytest.fixture(scope="module")
def address(mnist: Path) -> Iterator[str]:
    """Of the demo, served by the command."""
    command = ("-m", "pixelpatch", "demo", "--weights", str(WEIGHTS), "--data", str(mnist))
    with served(*command, folder=ROOT, package=ROOT / "src") as url:
        yield url


@published
def test_a_space_has_all_that_it_needs(mnist: Path, tmp_path: Path) -> None:
    """What `make space` puts together runs by itself, without the study's own packages."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for part in ("space", "src", "results/full/weights"):
        shutil.copytree(ROOT / part, tmp_path / part)
    subprocess.run(["make", "space"], cwd=tmp_path, check=True, capture_output=True)
    space = tmp_path / "build/space"
    shutil.copytree(mnist, space / "data")  # which it would download
    lacking = "import runpy, sys; sys.modules |= dict.fromkeys(('altair', 'scipy', 'snakemake', 'vl_convert', 'wandb'))"
    with served("-c", f"{lacking}; runpy.run_path('app.py', run_name='__main__')", folder=space, package=space) as url:
        assert "pixelpatch" in urllib.request.urlopen(url).read().decode()
    assert sum(file.stat().st_size for file in (space / "weights").iterdir()) < 2e7


@pytest.fixture(scope="module")
def page(address: str) -> Iterator["playwright.Page"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(**launch_options())
        opened = browser.new_page(viewport={"width": 1280, "height": 1400})
        opened.foreign = []
        opened.on("request", lambda asked: None if _own(asked.url, address) else opened.foreign.append(asked.url))
        opened.goto(address)
        opened.get_by_role("tab", name="Read a grid").wait_for()
        yield opened
        browser.close()


def _own(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def draw(page: "playwright.Page", canvas: "playwright.Locator", points: list[tuple[float, float]]) -> None:
    """A stroke through `points`, in parts of the canvas."""
    page.locator("button[aria-label=Brush].highlight:visible").first.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    there = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*there[0])
    page.mouse.down()
    for point in there[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


ONE = [(0.5, 0.25), (0.5, 0.75)]
SEVEN = [(0.4, 0.25), (0.6, 0.25), (0.48, 0.75)]


@published
def test_a_shuffled_grid_is_read(page: "playwright.Page") -> None:
    page.get_by_role("tab", name="Read a grid").click()
    page.get_by_role("button", name="Shuffle").click()
    page.get_by_text("It reads").wait_for()
    assert re.search(r"It reads( \d){4}: (correct|wrong)", page.get_by_text("It reads").inner_text())


@published
def test_an_empty_cell_and_an_empty_canvas_are_a_sentence(page: "playwright.Page") -> None:
    page.get_by_role("tab", name="Read a grid").click()
    page.get_by_role("button", name="Empty").click()
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_text("The cell at the top left is empty").wait_for()
    page.get_by_role("tab", name="One digit, every architecture").click()
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("The canvas is empty").wait_for()


@published
@pytest.mark.parametrize(("points", "digit"), [(ONE, 1), (SEVEN, 7)])
def test_a_drawn_digit_is_read_by_every_architecture(
    page: "playwright.Page",
    points: list[tuple[float, float]],
    digit: int,
) -> None:
    page.reload()
    page.get_by_role("tab", name="One digit, every architecture").click()
    draw(page, page.locator("canvas:visible").first, points)
    page.get_by_role("button", name="Classify").click()
    page.get_by_text(re.compile("All read|They do not agree")).wait_for()
    page.get_by_role("gridcell", name="vit16_tiny").wait_for()
    cells = page.get_by_role("gridcell").all_inner_texts()  # model, what it sees, what it reads, probability, or else
    read = [int(answer) for answer in cells[2::5]]
    assert len(read) == len(list(WEIGHTS.glob("*.safetensors"))) - 1  # all but the sequence model's
    assert read.count(digit) > len(read) / 2


@published
def test_a_drawn_digit_takes_its_cell(page: "playwright.Page") -> None:
    page.reload()
    page.get_by_text("It reads").wait_for()  # four digits are there from the start
    draw(page, page.locator("canvas:visible").first, ONE)
    page.get_by_role("button", name="Read", exact=True).click()
    # Without a verdict: of a drawn digit, nobody knows what it is.
    playwright.expect(page.get_by_text("It reads")).to_have_text(re.compile(r"It reads 1( \d){3}\.\s*$"))


@published
def test_what_was_drawn_goes_when_it_is_emptied_or_shuffled(page: "playwright.Page") -> None:
    page.reload()
    page.get_by_text("It reads").wait_for()
    canvas = page.locator("canvas:visible").first
    draw(page, canvas, ONE)
    page.get_by_role("button", name="Empty").click()
    page.get_by_text("It reads").wait_for(state="hidden")
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_text("The cell at the top left is empty").wait_for()
    draw(page, canvas, ONE)
    page.get_by_role("button", name="Shuffle").click()
    page.get_by_text(re.compile("It reads.*: (correct|wrong)")).wait_for()


@published
def test_it_asks_nobody_else_for_anything(page: "playwright.Page") -> None:
    assert page.foreign == []
