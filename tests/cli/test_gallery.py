"""`batcher gallery`: the page beside the clips, in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cells import NASTY, row, waiting
from playwright.sync_api import sync_playwright

from batcher.report.gallery import document, page

pytestmark = pytest.mark.timeout(240)  # a browser decodes video: seconds alone, a minute beside eleven others


def browser_path():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    reason = "no chromium here: apt install chromium"
    return (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@contextmanager
def shown(path, **options):
    """The page of a file in a browser; a word on its console, or a request that leaves it, is a failure."""
    said, asked = [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        tab = browser.new_context(**options).new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(Path(path).absolute().as_uri())
        yield tab
        browser.close()
    assert not said
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


def written(folder, *rows, **more):
    """A page of such rows, whose files are not there: what a browser does not need is not loaded."""
    about = {"job": "x", "folder": "x", "provider": "cometapi", "simulated": False, "max_usd": None}
    path = folder / "index.html"
    path.write_text(page(document(rows, at="2026-11-27T02:10:00.000Z", **about | more)), encoding="utf-8")
    return path


FOUR = (
    waiting("fox-16x9", prompt="A red fox"),
    waiting("fox-9x16", prompt="A red fox", aspect_ratio="9:16"),
    waiting("owl-16x9", prompt="A white owl", source="jobs/x.yaml:9", model_name="kling-v3"),
    waiting(
        "owl-9x16",
        prompt="A white owl",
        source="jobs/x.yaml:9",
        aspect_ratio="9:16",
        status="failed",
        error_message="refused",
    ),
)


def names(tab):
    return [cell.get_attribute("title") for cell in tab.locator(".cell:not([hidden])").all()]


def test_the_page_of_a_run(cli, manifest):
    """Every clip is on it; hover plays one, a click opens it with all that is known, picks are saved to a file."""
    assert cli("run", manifest).code == 0
    result = cli("gallery")
    assert result.code == 0, result.err
    [path] = result.out.split()
    assert path == "out/birds-simulated/index.html"
    with shown(path) as tab:
        assert len(names(tab)) == 4
        assert tab.locator(".badge.sim").count() == 4
        first = tab.locator(".cell").first
        first.locator("img").evaluate("image => image.decode()")
        first.hover()
        first.locator("video").evaluate(
            "video => video.readyState >= 2 || new Promise(done => video.addEventListener('loadeddata', done))"
            ".then(() => true)"
        )
        first.click()
        facts = tab.locator("dialog .facts").inner_text()
        assert first.get_attribute("title") in facts
        assert "external_task_id" in facts
        assert "sha256" in facts
        tab.keyboard.press("r")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("k")
        tab.keyboard.press("Escape")
        assert not tab.locator("dialog").is_visible()
        with tab.expect_download() as download:
            tab.get_by_text("Save picks.json: 1 keep, 1 reroll").click()
        picks = json.loads(Path(download.value.path()).read_text())
        assert [each["name"] for each in picks["reroll"]] == names(tab)[:1]
        assert [each["name"] for each in picks["keep"]] == names(tab)[1:2]
        tab.reload()
        assert tab.get_by_text("Save picks.json").is_visible()


def test_search_and_filters(tmp_path):
    with shown(written(tmp_path, *FOUR)) as tab:
        tab.keyboard.press("/")
        tab.keyboard.type("OWL white")
        assert names(tab) == ["owl-16x9", "owl-9x16"]
        tab.keyboard.press("Escape")
        assert len(names(tab)) == 4
        tab.get_by_role("button", name="9:16", exact=True).click()
        assert names(tab) == ["fox-9x16", "owl-9x16"]
        tab.get_by_role("button", name="Failed", exact=True).click()
        assert names(tab) == ["owl-9x16"]
        tab.get_by_role("button", name="kling-v3").click()
        assert tab.get_by_text("Nothing here answers to that.").is_visible()
        tab.get_by_role("button", name="All").click()
        assert len(names(tab)) == 4


def test_failures_stand_on_top_with_the_next_command(tmp_path):
    with shown(written(tmp_path, *FOUR)) as tab:
        told = tab.locator("#trouble").inner_text()
        assert "owl-9x16: refused" in told
        assert "batcher retry x --failed" in told


def test_hostile_words_are_words(tmp_path):
    nasty = row(NASTY, prompt=NASTY, error_message=NASTY, source=NASTY, path="x/javascript:alert(1).mp4", poster=None)
    with shown(written(tmp_path, nasty, waiting("b"), job=NASTY)) as tab:
        tab.evaluate("void (window.alert = () => console.log('a word was run'))")
        assert "<script>alert(1)</script>" in tab.locator(".row .words").first.inner_text()
        assert tab.locator("script").count() == 2
        tab.locator(".cell").last.click()
        assert tab.locator("dialog").is_visible()


def test_a_small_screen_and_a_dark_one(tmp_path):
    phone = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    with shown(written(tmp_path, *FOUR), **phone) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 20)"


def test_five_thousand_clips_load_no_poster_that_is_not_seen(tmp_path):
    rows = [row(f"clip-{n:04}", source=f"x.jsonl:{n}") for n in range(5000)]
    asked = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(written(tmp_path, *rows).as_uri())
        assert tab.locator(".cell").count() == 5000
        browser.close()
    assert sum(url.endswith(".jpg") for url in asked) < 100
    assert not any(url.endswith(".mp4") for url in asked)


def test_somebody_elses_page_stays(cli, manifest):
    assert cli("run", manifest).code == 0
    index = Path("out/birds-simulated/index.html")
    index.write_text("mine")
    result = cli("gallery")
    assert result.code == 78
    assert "is not a page of batcher's" in result.err
    assert index.read_text() == "mine"
    index.unlink()
    assert cli("gallery", "birds").code == cli("gallery", "birds").code == 0


def test_a_job_that_nobody_knows(cli, manifest):
    assert cli("run", manifest, "--limit", "0").code in (0, 75)
    result = cli("gallery", "bird")
    assert result.code == 2
    assert "jobs: birds" in result.err


def test_a_strangers_state_writes_no_page_elsewhere(cli, manifest, tmp_path_factory):
    assert cli("run", manifest).code == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with closing(sqlite3.connect("state.db", isolation_level=None)) as state:
        state.execute("UPDATE jobs SET root = ?", (str(elsewhere),))
    result = cli("gallery")
    assert result.code == 78
    assert "where batcher never worked" in result.err
    assert not list(elsewhere.iterdir())
