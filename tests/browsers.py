"""Headless Chromium for the tests of pages."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium is not installed")
_FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync window-size=1200,1000"
).split()


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser whose profile is in ``folder``; it records the messages of the console."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER  # type: ignore[assignment]
    for flag in (*_FLAGS, f"user-data-dir={folder}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def accessibility_violations(driver: Any) -> list[str]:
    """Return what axe-core finds on the page that is shown.

    The environment variable ENCLOZE_TEST_AXE names the file axe.min.js of another version than the installed one.
    """
    installed = files("axe_core_python") / "axe.min.js"
    driver.execute_script(Path(os.environ.get("ENCLOZE_TEST_AXE", str(installed))).read_text(encoding="utf-8"))
    found: list[str] = driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((all) => done(all.violations.map((v) => `${v.id}: ${v.help} "
        "${v.nodes.map((n) => n.html.slice(0, 80)).slice(0, 3)}`)))"
    )
    return found


def wait_for(driver: Any, condition: Callable[[], Any]) -> Any:
    """Return the first true value of a condition within 15 seconds."""
    from selenium.common.exceptions import StaleElementReferenceException

    deadline = time.monotonic() + 15
    while True:
        try:
            if found := condition():
                return found
        except StaleElementReferenceException:
            pass  # what is shown was just replaced
        assert time.monotonic() < deadline, driver.find_element("css selector", "body").text
        time.sleep(0.02)
