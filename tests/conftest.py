"""What every test has: a cache of its own, one thread for torch, no hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and bits differ between thread counts
sys.path.insert(0, str(Path(__file__).parent))

import toys

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that no other test sees."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ENCLOZE_CACHE", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Forty documents and questions in BEIR's layout."""
    return toys.write_dataset(tmp_path / "toys")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with random weights."""
    return toys.write_model(tmp_path / "model")


@pytest.fixture
def shared() -> Iterator[Path]:
    """The real collections, which stand beside the repository where there are any."""
    if not SHARED.is_dir():
        pytest.skip("the real collections are not here")
    yield SHARED
