"""The dashboard as a person uses it: the installed command, a real search's database, a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from end_to_end import COMMAND, autopeft, environment
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from autopeft.nouns import TrialKind
from autopeft.store import Repository

pytestmark = pytest.mark.slow

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SHOTS = os.environ.get("AUTOPEFT_SCREENSHOTS")
"""A folder for pictures of every page, to be looked at."""
PATIENCE = 60_000  # milliseconds, on a machine that does other things as well


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose database holds two real studies."""
    folder = tmp_path_factory.mktemp("dashboard")
    for study, sampler in (("small", "botorch"), ("by-chance", "random")):
        asked = (
            "--trials",
            "5",
            "--study",
            study,
            "--sampler",
            sampler,
            "--epochs",
            "1",
            "--confirm-seeds",
            "1",
        )
        done = autopeft(folder, "search", *asked, "--workers", "1")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("AUTOPEFT_REQUIRE_BROWSER"):
            pytest.fail("there is no Chromium, and AUTOPEFT_REQUIRE_BROWSER is set")
        pytest.skip("there is no Chromium")
    quiet = (
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-sync",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=[*quiet, "--disable-component-update"]
        )
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _closed(browser: Browser) -> Iterator[None]:
    """Every page of a test is closed after it: an open one asks for what is new."""
    yield
    for context in browser.contexts:
        context.close()


class Served:
    """A dashboard that runs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.process = subprocess.Popen(
            [*COMMAND, "dashboard", "--port", str(self.port), *arguments],
            env=environment(folder),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError("the dashboard does not listen")

    def address(self, page: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{page}"

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    found = Served(folder)
    yield found
    found.end()


def visit(browser: Browser, address: str, size: dict[str, int] = WIDE, scheme: str = "light") -> Page:
    context = browser.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("h1")
    settle(page)
    return page


def settle(page: Page) -> None:
    """Wait until the page has been drawn to its end."""
    page.wait_for_timeout(300)
    expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0, timeout=PATIENCE)
    page.wait_for_timeout(300)


def trial_of(page: Page) -> str:
    return page.locator("h3").first.inner_text()


def points(page: Page) -> Locator:
    return page.locator(".js-plotly-plot .scatterlayer .trace").first.locator(".point")


def click_a_point(page: Page, number: int) -> None:
    box = points(page).nth(number).bounding_box()
    assert box is not None
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(at[0] - 20, at[1] - 20)
    page.mouse.move(*at, steps=4)
    page.wait_for_timeout(300)
    page.mouse.down()
    page.mouse.up()


def test_from_the_list_to_a_recipe(browser: Browser, served: Served, tmp_path: Path) -> None:
    page = visit(browser, served.address())
    page.get_by_text("2 of 2 studies").wait_for()
    page.goto(served.address("front?study=small"))
    page.wait_for_selector(".js-plotly-plot .point")
    settle(page)
    assert "knee" in trial_of(page)
    for number in range(points(page).count()):  # one that is not the knee itself
        click_a_point(page, number)
        settle(page)
        if "knee" not in trial_of(page):
            break
    expect(page.locator("h3").first).not_to_contain_text("knee", timeout=PATIENCE)
    chosen = trial_of(page).removeprefix("Trial ").split(",")[0]
    page.get_by_role("button", name="Write the recipe").click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download the recipe").click()
    archive = tmp_path / "recipe.zip"
    downloading.value.save_as(archive)
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        assert all(name.startswith(f"small-trial-{chosen}-peft/") for name in names)
        card = next(name for name in names if name.endswith("README.md"))
        assert f"Trial {chosen} of the study `small`" in opened.read(card).decode()
        opened.extractall(tmp_path)
    from autopeft.adapters.folder import CONFIG

    assert (tmp_path / f"small-trial-{chosen}-peft" / CONFIG).is_file()


def test_a_filter_leaves_points_out(browser: Browser, served: Served) -> None:
    page = visit(browser, served.address("front?study=small"))
    page.wait_for_selector(".js-plotly-plot .point")
    before = points(page).count()
    page.get_by_text("Axes and limits").click()
    slider = page.locator('input[aria-label="accuracy — start"]')
    slider.focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    settle(page)
    page.wait_for_timeout(1_500)
    assert points(page).count() < before


def test_two_configurations_are_compared(browser: Browser, served: Served) -> None:
    page = visit(browser, served.address("anatomy?study=small"))
    page.get_by_text("Beside another one").click()
    page.get_by_text("they are framed").wait_for()
    settle(page)
    assert page.locator(".js-plotly-plot .heatmaplayer").count() >= 2
    assert page.locator("[data-testid=stException]").count() == 0


def test_new_trials_appear_and_the_zoom_stays(browser: Browser, served: Served, folder: Path) -> None:
    page = visit(browser, served.address("front?study=by-chance"))
    page.wait_for_selector(".js-plotly-plot .point")
    before = points(page).count()
    plot = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    assert plot is not None
    page.mouse.move(plot["x"] + 20, plot["y"] + 20)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] - 20, plot["y"] + plot["height"] - 20, steps=6)
    page.mouse.up()
    page.wait_for_timeout(800)
    ticks = page.locator(".js-plotly-plot .ytick text").all_inner_texts()
    with Repository.open(f"sqlite:///{folder}/autopeft.db") as repository:
        study = repository.get_study("by-chance")
        some = next(t for t in repository.trials(study.id) if t.kind is TrialKind.SEARCH and t.score)
        trial = repository.add_trial(study.id, TrialKind.SEARCH, some.configuration, some.trainable, seed=99)
        repository.start_trial(trial.id)
        repository.report(trial.id, 1, {"score": (some.score or 0.0) * 0.99})
        repository.complete(trial.id, {}, {})
    expect(points(page)).to_have_count(before + 1, timeout=20_000)  # without a reload
    assert page.locator(".js-plotly-plot .ytick text").all_inner_texts() == ticks


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_page_is_whole(browser: Browser, served: Served, size: dict[str, int], scheme: str) -> None:
    asked = ("", "front?study=small", "anatomy?study=small", "why?study=small", "progress?study=small")
    for name in (*asked, "export?study=small", "compare", "new"):
        page = visit(browser, served.address(name), size, scheme)
        page.wait_for_timeout(1_000)
        assert page.locator("[data-testid=stException]").count() == 0, name
        beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, f"{name} is {beyond} pixels wider than the screen"
        for chart in page.locator("[data-testid=stPlotlyChart]").all():
            box = chart.bounding_box()
            assert box is None or box["x"] + box["width"] <= size["width"] + 1, name
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{SHOTS}/{name.split('?')[0] or 'studies'}-{size['width']}.png")
        page.context.close()


def test_the_keyboard_reaches_the_pages(browser: Browser, served: Served) -> None:
    page = visit(browser, served.address())
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || ''").strip())
    assert any("Front" in text for text in reached)
    assert any("Compare" in text for text in reached)


def test_charts_are_told_in_words(browser: Browser, served: Served) -> None:
    page = visit(browser, served.address("front?study=small"))
    page.wait_for_selector(".js-plotly-plot .point")
    assert "the front has" in page.content()


def test_nothing_is_fetched_from_elsewhere(browser: Browser, served: Served) -> None:
    context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("", "front?study=small", "new"):
        page.goto(served.address(name))
        page.wait_for_selector("h1", timeout=PATIENCE)
        page.wait_for_timeout(1_500)
    own = (served.address(), f"ws://127.0.0.1:{served.port}/", "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


def test_who_has_no_token_sees_nothing(browser: Browser, folder: Path) -> None:
    served = Served(folder, "--token", "open-sesame")
    try:
        assert "token=open-sesame" in served.said
        context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
        page = context.new_page()
        for name in ("", "front?study=small", "export"):
            page.goto(served.address(name))
            page.locator("input[type=password]").wait_for(timeout=PATIENCE)
            assert "small" not in page.locator("[data-testid=stMain]").inner_text()
        page.goto(served.address("views/front"))  # no page of its own, and nothing is served past the frame
        page.wait_for_timeout(3_000)
        assert "small" not in page.locator("body").inner_text()
        admitted = visit(browser, served.address("?token=open-sesame"))
        admitted.get_by_text("2 of 2 studies").wait_for()
        assert "token" not in admitted.url
    finally:
        assert served.end() in (0, -signal.SIGTERM)


def test_where_others_can_reach_it_a_token_is_made_up(folder: Path) -> None:
    served = Served(folder, "--host", "0.0.0.0")
    try:
        assert "?token=" in served.said
        assert len(served.said.split("?token=")[1].split(";")[0]) >= 20
    finally:
        served.end()


def test_a_report_opens_by_itself(browser: Browser, folder: Path) -> None:
    done = autopeft(folder, "report", "small", "--to", "small.html")
    assert done.returncode == 0, done.stderr
    again = autopeft(folder, "report", "small", "--to", "small.html")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto(f"file://{folder}/small.html")
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE)
    page.wait_for_timeout(1_000)
    assert page.locator(".js-plotly-plot").count() >= 6
    assert said == []


def test_a_port_that_is_taken_is_said(folder: Path, served: Served) -> None:
    done = autopeft(folder, "dashboard", "--port", str(served.port), seconds=60)
    assert done.returncode == 2
    assert "--port" in done.stderr
