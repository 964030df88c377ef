"""Fixtures of all tests: a cache folder per test, one thread for torch, no hub."""

from __future__ import annotations

import itertools
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and bits differ between thread counts
sys.path.insert(0, str(Path(__file__).parent))

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"
COUNTER = itertools.count()


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that the other workers have tests left to run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that no other test sees."""
    folder = tmp_path_factory.getbasetemp() / "caches" / str(next(COUNTER))  # mktemp would list all folders
    folder.mkdir(parents=True)
    monkeypatch.setenv("ENCLOZE_CACHE", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Forty documents and questions in BEIR's layout."""
    import toys  # imports torch and transformers, which the main process of parallel runs does not need

    return toys.write_dataset(tmp_path / "toys")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with random weights."""
    import toys

    return toys.write_model(tmp_path / "model")


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context manager in which no file may grow above a size; the error is treated as that of a full disk."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        previous = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, previous)

    return limit


@pytest.fixture
def shared() -> Iterator[Path]:
    """The folder of real collections beside the repository; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the real collections are missing")
    yield SHARED
