"""Values of the fields of a document as engines store them for filters, with the semantics of ``FieldColumns``."""

from __future__ import annotations

from typing import Any

from encloze.data.field_columns import entries_of
from encloze.data.filters import Constant
from encloze.data.records import Document

NAMES, VALUES = "names", "values"
_EXACT = 2**53


def field_values(document: Document) -> dict[str, Any]:
    """Return the fields of a document for filters.

    Returns:
        ``names`` lists the names of the fields, and of the objects that contain fields. ``values`` maps the key of each
        field (see ``field_key``) to its distinct values by kind: numbers ``n``, texts ``t`` and booleans ``b``, sorted.
    """
    names, values = set[str](), dict[str, dict[str, set[Any]]]()
    for name, kind, value in entries_of(document):
        parts = name.split(".")
        names |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        constant: Constant = bool(value) if kind == "boolean" else value
        values.setdefault(field_key(name), {}).setdefault(kind_of(constant), set()).add(plain_number(constant))
    listed = {key: {kind: sorted(of_kind) for kind, of_kind in kinds.items()} for key, kinds in values.items()}
    return {NAMES: sorted(names), VALUES: listed}


def kind_of(constant: Constant) -> str:
    """Return the kind of the values that a constant is compared with: ``n``, ``t`` or ``b``."""
    return "t" if isinstance(constant, str) else "b" if isinstance(constant, bool) else "n"


def plain_number(constant: Constant) -> Constant:
    """Return a number without a fraction as an integer, so that equal numbers have one form; other values unchanged."""
    if isinstance(constant, float) and constant.is_integer() and abs(constant) <= _EXACT:
        return int(constant)
    return constant


def field_key(name: str) -> str:
    """Return the key of a field: its name, if it consists of ASCII letters, digits and underscores, else in hex."""
    if name.isascii() and name.replace("_", "a").isalnum():
        return f"f_{name}"
    return f"x_{name.encode().hex()}"
