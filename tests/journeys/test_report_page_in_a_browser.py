"""A report in a real browser: both themes, tips, a narrow screen, printing, and no errors in the console."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

import toys
from browsers import chromium, needs_browser
from encloze.commands.compare import Compare
from encloze.commands.report import MakeReport
from encloze.commands.robustness import Robustness
from encloze.data.formats.beir import Beir
from encloze.evaluation.query_perturbations.typos import Typos
from encloze.search.analyzers.stemmed import Stemmed
from encloze.systems.bm25 import Bm25

pytest.importorskip("selenium")
pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCLOZE_CACHE", str(folder / "cache"))
        made = Beir(toys.write_dataset(folder / "toys"))
        Compare((made,), (Bm25(), Bm25(analyzer=Stemmed())), output=folder / "compared").run()
        Robustness(made, (Bm25(),), query_perturbations=(Typos(word_fraction=1.0),), output=folder / "card").run()
        return MakeReport((folder / "compared", folder / "card")).run().page


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[object]:
    with chromium(tmp_path) as driver:
        driver.get(page.as_uri())
        yield driver


def test_themes_tips_narrow_screens_and_printing(browser: object) -> None:
    def colors() -> tuple[str, str]:
        return tuple(
            browser.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
        )

    def contrast(one: str, other: str) -> float:
        lights = []
        for color in (one, other):
            parts = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            lights.append(sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
        return (max(lights) + 0.05) / (min(lights) + 0.05)

    by_default = colors()
    browser.find_element("id", "theme").click()
    switched = colors()
    assert by_default != switched and min(contrast(*by_default), contrast(*switched)) > 7
    fills = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map(one => getComputedStyle(one).fill)"
    )
    assert fills and set(fills) == {switched[0]}  # text in charts follows the theme

    from selenium.webdriver import ActionChains

    tip = browser.find_element("id", "tip")
    assert not tip.is_displayed()
    point = browser.find_element("xpath", "//figure[contains(., 'by query')]//*[@data-tip]")
    ActionChains(browser).scroll_to_element(point).move_to_element(point).perform()
    assert tip.is_displayed() and "bm25" in tip.text and "tell me about the" in tip.text
    browser.execute_script("document.querySelector('td.heat').focus()")
    assert "95 % interval" in tip.text  # tips also appear on keyboard focus

    browser.set_window_size(400, 800)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.find_elements("css selector", "details") and not browser.find_elements(
        "css selector", "details:not([open])"
    )
    assert base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]).startswith(b"%PDF")
    assert browser.get_log("browser") == []
