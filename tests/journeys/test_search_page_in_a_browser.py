"""The search page in a real browser: search, filter, explain, judge, compare, themes, keyboard, accessibility."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import served
import toys
from browsers import accessibility_violations, chromium, needs_browser, wait_for
from encloze.retrieval.retriever import Retriever
from encloze.serving.keys import ApiKeys

pytest.importorskip("selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

pytestmark = [needs_browser, pytest.mark.long]
KEY = "k" * 20
HEBREW = [
    {"id": "he-1", "title": "נהרות", "text": "הנהר זורם אל הים דרך העמק."},
    {"id": "he-2", "title": "כינור", "text": "לכינור ארבעה מיתרים."},
]


class Page(NamedTuple):
    """The search page in a browser."""

    driver: Any
    judgments: Path

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        return wait_for(self.driver, condition)

    def judged(self) -> list[str]:
        """Return the documents that are judged, with their grades."""
        file = self.judgments / "toys" / "qrels" / "judged.tsv"
        lines = file.read_text().splitlines()[1:] if file.exists() else []
        return [line.partition("\t")[2] for line in lines]

    def search(self, text: str) -> list[str]:
        """Type a query, and return the ids of the results, without pressing Enter."""
        query = self.one("#query")
        query.clear()
        self.driver.execute_script("document.getElementById('results').replaceChildren()")
        query.send_keys(text)
        self.wait(lambda: self.all("article"))
        time.sleep(0.5)  # until no other search, such as after a change of the collection, is under way
        return [article.get_attribute("data-id") for article in self.all("article")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    model = toys.write_model(folder / "model", views=("dense",))
    index, hebrew = served.build_index(folder / "toys", model), folder / "hebrew"
    Retriever.build(HEBREW, indexes=["bm25"], output=hebrew)
    service = served.service_of(index, hebrew, reranks=True, judgments=folder / "judged")
    keys = ApiKeys.parse([f"write {KEY}"])
    with served.serving(service, keys) as client, chromium(folder / "profile") as driver:
        driver.get(f"http://127.0.0.1:{client.port}/")
        page = Page(driver, folder / "judged")
        page.wait(lambda: page.all("#login[open]"))
        page.one("#key").send_keys(KEY, Keys.ENTER)
        page.wait(lambda: "40 documents" in page.one("#size").text)
        yield page
        expected = ("status of 401", "status of 422")  # without a key, and of the wrong filter
        log = [entry["message"] for entry in driver.get_log("browser")]
        assert [message for message in log if not any(status in message for status in expected)] == []


def test_a_query_is_searched_while_it_is_typed(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    found = page.search("the repair of a violin")
    assert "violin-repair" in found and len(found) == 10
    assert "10 results in" in page.one("#status").text
    first = page.one("article")
    assert first.find_element(By.CSS_SELECTOR, "mark").text.lower() in ("violin", "repair")
    assert "score" in first.text and page.driver.current_url.endswith("#q=the%20repair%20of%20a%20violin")


def test_results_are_filtered_and_faults_of_a_filter_are_shown(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("violin")
    page.driver.execute_script("document.getElementById('options').open = true")
    field = page.one("#filter")
    field.send_keys('source == "comet"', Keys.TAB)
    page.wait(lambda: {a.get_attribute("data-id").partition("-")[0] for a in page.all("article")} == {"comet"})
    field.clear()
    field.send_keys("nonsense >", Keys.TAB)
    page.wait(lambda: page.all("#status.error"))
    assert "filter" in page.one("#status").text
    field.clear()
    field.send_keys(Keys.TAB)
    page.wait(lambda: len(page.all("article")) == 10)


def test_a_result_is_explained(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("violin repair")
    page.one("article summary").click()
    page.wait(lambda: page.all("article table"))
    rows = {row.text.split()[0]: row.text for row in page.all("article table tbody tr")}
    assert rows.keys() == {"flat", "bm25"} and "violin" in rows["bm25"]


def test_two_systems_are_compared(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("violin repair")
    page.driver.execute_script("document.getElementById('options').open = true")
    page.one("#compare").click()
    Select(page.one("#system-b")).select_by_visible_text("bm25 only")
    page.wait(lambda: len(page.all(".column")) == 2 and "bm25 only" in page.all(".column h2")[1].text)
    assert len(page.all(".column:nth-child(2) article")) > 0
    page.one("#compare").click()
    page.wait(lambda: len(page.all(".column")) == 1)


def test_the_keyboard_alone_suffices_to_search_and_judge(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("old comets")
    active = lambda: page.driver.switch_to.active_element  # noqa: E731
    page.one("#query").send_keys(Keys.ARROW_DOWN)
    first = active()
    assert first.tag_name == "article"
    first.send_keys("+")
    page.wait(lambda: page.judged() == [f"{first.get_attribute('data-id')}\t1"])
    page.wait(lambda: page.all("button.good[aria-pressed=true]"))
    first.send_keys(Keys.ARROW_DOWN)
    assert active() == page.all("article")[1]
    active().send_keys(Keys.ARROW_UP)
    active().send_keys("w")
    page.wait(lambda: page.all("article table"))
    active().send_keys("+")  # again: undo
    page.wait(lambda: page.judged() == [])
    active().send_keys("/")
    assert active() == page.one("#query")


def test_a_judgment_is_for_the_query_whose_results_are_shown(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    shown = page.search("old glaciers")
    page.driver.execute_script("document.getElementById('query').value = 'another query'")
    page.one("article button.bad").click()
    page.wait(lambda: page.judged() == [f"{shown[0]}\t0"])
    queries = (page.judgments / "toys" / "queries.jsonl").read_text()
    assert "old glaciers" in queries and "another" not in queries
    page.one("article summary").click()
    page.wait(lambda: page.all("article table"))  # explained for the shown query, too
    page.one("article button.bad").click()
    page.wait(lambda: page.judged() == [])


def test_the_address_has_the_query(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("violin")
    page.driver.execute_script("location.hash = '#q=comet'")
    page.wait(lambda: page.one("#query").get_attribute("value") == "comet" and page.all("article"))
    page.wait(lambda: page.one("article").get_attribute("data-id").startswith("comet"))
    page.one("#query").send_keys(*[Keys.BACKSPACE] * 5)
    page.wait(lambda: not page.all("article"))
    assert "#" not in page.driver.current_url


def test_right_to_left_texts(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("hebrew")
    assert page.search("הנהר")[0] == "he-1"
    title, text = page.one("article h3"), page.one("article p")
    assert title.get_attribute("dir") == text.get_attribute("dir") == "rtl"
    assert page.driver.execute_script("return getComputedStyle(document.getElementById('query')).direction") == "rtl"
    Select(page.one("#collection")).select_by_value("toys")


def test_both_themes_are_accessible(page: Page) -> None:
    Select(page.one("#collection")).select_by_value("toys")
    page.search("violin repair")
    page.one("article summary").click()
    page.wait(lambda: page.all("article table"))
    page.driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    backgrounds = set()
    for theme in ("light", "dark"):
        while theme not in page.one("#theme").text:
            page.one("#theme").click()
        assert accessibility_violations(page.driver) == [], theme
        backgrounds.add(page.driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
