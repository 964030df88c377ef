"""Checks and conversions of the arguments of retrievers."""

from __future__ import annotations

from typing import Any

import numpy as np

from encloze.errors import RecipeError
from encloze.search.fusions.base import Fusion


def check_fusion(fusion: Fusion, views: int) -> None:
    """Raise RecipeError if the number of fusion weights differs from the number of searched indexes."""
    try:
        fusion.check(views)
    except ValueError as error:
        raise RecipeError("the search", [("fusion", str(error))]) from error


def check_count(value: Any, name: str) -> None:
    """Raise RecipeError if the value of the argument ``name`` is not a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise RecipeError("search", [(name, f"expected a whole number of 1 or more, found {value!r}")])


def check_weight(value: Any, name: str) -> None:
    """Raise RecipeError if a value is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise RecipeError("search", [(name, f"expected a number from 0 to 1, found {value!r}")])
