"""The labeling page in a real browser: grades, undo, keyboard, comparison, download, themes, accessibility."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import served
from browsers import accessibility_violations, chromium, needs_browser, wait_for
from encloze.data.corpus import Corpus
from encloze.data.records import Query, Run
from encloze.evaluation.pooling import Pool
from encloze.serving.judgments import JudgmentFile
from encloze.serving.keys import ApiKeys
from encloze.serving.labeling import Labeling, create_labeling_app

pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = [needs_browser, pytest.mark.long]
KEY = "k" * 20
NUM_QUERIES = 8
GRADES = ("not relevant", "related", "relevant")
LONG = "Rivers flow through the valley. " * 60
TEXTS = ["Rivers flow into the sea.", "A violin has four strings.", LONG, "הנהר זורם אל הים."]


class Page(NamedTuple):
    """The labeling page in a browser."""

    driver: Any
    file: JudgmentFile
    pool: Pool
    labeling: Labeling
    address: str

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, keys: str) -> None:
        ActionChains(self.driver).send_keys(keys).perform()

    def open(self, number: int) -> None:
        self.driver.get("about:blank")  # a change of what follows # does not load the page again
        self.driver.get(f"{self.address}#query={number + 1}")
        wait_for(self.driver, lambda: self.shown() == number)

    def shown(self) -> int | None:
        """Return the number of the query that is shown."""
        words = self.one("#position").text.split()
        return int(words[1]) - 1 if words and self.all("article") else None

    def grades(self, number: int) -> dict[str, int]:
        return self.file.grades(self.pool.queries[number].query.text)

    def wait_for_grades(self, number: int, *grades: int) -> None:
        """Wait until the documents of a query, in the order of the page, have these grades on disk."""
        documents = self.pool.queries[number].documents[: len(grades)]
        wait_for(self.driver, lambda: self.grades(number) == dict(zip(documents, grades, strict=True)))


@pytest.fixture
def page(opened: Page) -> Page:
    """The page, without any judgments."""
    for number, one in enumerate(opened.pool.queries):
        opened.labeling.judge(number, dict.fromkeys(one.documents))
    return opened


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    corpus = Corpus.from_dicts([{"id": f"d{at}", "text": text, "title": ""} for at, text in enumerate(TEXTS)])
    runs: dict[str, Run] = {"bm25": {}, "minilm": {}}
    for number in range(NUM_QUERIES):
        runs["bm25"][f"q{number}"] = {"d0": 3.0, "d1": 2.0, "d2": 1.0}
        runs["minilm"][f"q{number}"] = {"d2": 3.0, "d3": 2.0, "d1": 1.0}
    queries = [Query(f"q{number}", f"where do rivers end {number}") for number in range(NUM_QUERIES)]
    pool = Pool.from_runs(runs, queries, depth=3, seed=0)
    file = JudgmentFile(folder / "judged", {one.query.text: one.query.id for one in pool.queries})
    labeling = Labeling(pool, corpus, file, GRADES)
    app = create_labeling_app(labeling, ApiKeys.parse([f"judge write {KEY}"]))
    with served.serving_application(app) as client, chromium(folder / "profile") as driver:
        page = Page(driver, file, pool, labeling, f"http://127.0.0.1:{client.port}/")
        driver.get(page.address)
        wait_for(driver, lambda: page.all("#login[open]"))
        page.one("#key").send_keys(KEY, Keys.ENTER)
        wait_for(driver, lambda: page.all("article"))
        yield page
        log = [entry["message"] for entry in driver.get_log("browser")]
        assert [message for message in log if "status of 401" not in message] == []  # before the key was given
    file.close()


def test_documents_are_judged_with_the_keyboard_and_changes_undone(page: Page) -> None:
    page.open(0)
    assert page.driver.switch_to.active_element == page.all("article")[0]
    page.press("2")
    assert page.driver.switch_to.active_element == page.all("article")[1]
    page.press("0")
    page.wait_for_grades(0, 2, 0)
    page.press(Keys.ARROW_UP)
    page.press("0")  # again: removed
    page.wait_for_grades(0, 2)
    page.press("u")  # the removal is undone
    page.wait_for_grades(0, 2, 0)
    page.press("u")
    page.press("u")
    page.wait_for_grades(0)
    wait_for(page.driver, lambda: not page.all("article [aria-pressed=true]"))
    assert not page.one("#undo").is_enabled()


def test_the_rest_is_judged_at_once_and_the_next_query_follows(page: Page) -> None:
    page.open(1)
    page.all("article button")[1].click()
    page.one("#rest").click()
    page.wait_for_grades(1, 1, 0, 0, 0)
    assert "of 32 documents judged" in page.one("#progress").text
    page.press("n")
    wait_for(page.driver, lambda: page.shown() == 2)
    page.press("p")
    wait_for(page.driver, lambda: page.shown() == 1)
    assert [button.text for button in page.all("article [aria-pressed=true]")] == [
        "1 related", "0 not relevant", "0 not relevant", "0 not relevant"
    ]  # fmt: skip
    page.press("u")
    page.wait_for_grades(1, 1)


def test_texts_have_their_direction_and_long_ones_are_shortened(page: Page) -> None:
    page.open(3)
    shown = {article.get_attribute("data-id"): article for article in page.all("article")}
    directions = {id_: one.find_element(By.CSS_SELECTOR, "p").get_attribute("dir") for id_, one in shown.items()}
    assert directions == {"d0": "ltr", "d1": "ltr", "d2": "ltr", "d3": "rtl"}
    assert shown["d0"].find_element(By.CSS_SELECTOR, "mark").text == "Rivers"
    assert not shown["d0"].find_elements(By.CSS_SELECTOR, "details")
    shown["d2"].find_element(By.CSS_SELECTOR, "summary").click()
    assert shown["d2"].find_element(By.CSS_SELECTOR, ".whole").text.strip() == LONG.strip()


def test_a_grade_that_cannot_be_stored_is_not_shown(page: Page) -> None:
    page.open(4)
    page.driver.execute_script("document.querySelector('article').dataset.id = 'nonsense'")
    page.one("article button").click()
    wait_for(page.driver, lambda: "Not stored" in page.one("#status").text)
    assert not page.all("article [aria-pressed=true]") and page.one("article").get_attribute("data-id") != "nonsense"
    assert page.grades(4) == {}
    page.driver.get_log("browser")  # the status 404


def test_systems_are_compared_and_judgments_downloaded_and_the_page_is_accessible(page: Page) -> None:
    for number in range(NUM_QUERIES):
        page.open(number)
        page.press(str(number % 3))
        page.press("r")
        wait_for(page.driver, lambda number=number: len(page.grades(number)) == 4)
    wait_for(page.driver, lambda: "8 of 8 queries are complete" in page.one("#summary").text)
    row = page.one("#table tbody tr").text
    assert row.startswith("minilm") and ("decided" in row or "more" in row or "alike" in row)
    page.one("#next").click()
    wait_for(page.driver, lambda: page.one("#status").text == "All documents are judged.")
    page.driver.execute_script(
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return '#'; }"
    )
    page.one("#download").click()
    saved = wait_for(page.driver, lambda: page.driver.execute_script("return window.saved"))
    assert len(saved.splitlines()) == 32 and saved.splitlines()[0].split("\t")[1] == "0"
    time.sleep(0.2)
    page.driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    for theme in ("light", "dark"):
        while theme not in page.one("#theme").text:
            page.one("#theme").click()
        assert accessibility_violations(page.driver) == [], theme
