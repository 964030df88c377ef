"""Filters: conditions on the fields of documents, such as ``year >= 2020 and language in ("he", "en")``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from encloze.errors import RecipeError

Operator = Literal["==", "<", "<=", ">", ">=", "startswith"]
Constant = str | float | bool | None

_COMPARISONS: dict[type[ast.cmpop], Operator] = {
    ast.Eq: "==",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLIPPED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SYNTAX = (
    'Write conditions such as: year >= 2020 and language in ("he", "en") and not draft. Combine them with and, or, not '
    "and parentheses. Compare with ==, !=, <, <=, >, >=, in, or name.startswith(...). Texts stand in quotation marks. "
    'Names that are no names in Python are written as field("class")'
)
_LONGEST = 200
"""Number of characters of an expression that a message shows."""


def filter_error(message: str) -> RecipeError:
    """Return the error that a filter is invalid."""
    return RecipeError("the search", [("filter", message)])


class Condition(NamedTuple):
    """Comparison of one field with one constant."""

    field: str
    operator: Operator
    constant: Constant


class Comparison(NamedTuple):
    """A condition that must hold, or that must not hold."""

    condition: Condition
    is_negated: bool


class Combination(NamedTuple):
    """Parts of a filter, all of which must hold (``and``), or one of which (``or``)."""

    operator: Literal["and", "or"]
    parts: tuple[Comparison | Combination, ...]


class Filter:
    """A condition on the fields of documents.

    The syntax is that of Python expressions: comparisons of a field with constants, combined with ``and``, ``or``,
    ``not`` and parentheses.

    - ``language == "he"``, ``language != "he"``, ``language in ("he", "en")``, ``language not in ("he", "en")``;
    - ``2020 <= year < 2025``; dates are ISO 8601 texts, so ``added >= "2026-01-31"`` compares them;
    - ``"physics" in tags``: a list contains a value; ``tags == "physics"`` means the same;
    - ``path.startswith("docs/")``;
    - ``draft`` (the field is true), ``not draft``, ``author == None`` (the document has no such field);
    - ``author.name == "Ada"`` for a field in an object, and ``field("reading time") < 5`` for any other name.

    ``id``, ``source`` and ``position`` are fields, too. A document without a field fails every comparison of it except
    ``== None``, ``!=`` and ``not in``. A text that is a number, or true or false, as in CSV files, also equals that.

    Example:
        >>> filter_ = Filter('2020 <= year < 2025 and not draft')
        >>> sorted(filter_.fields)
        ['draft', 'year']
    """

    def __init__(self, expression: str) -> None:
        """Parse an expression.

        Raises:
            RecipeError: The expression has another syntax. The message quotes the part that was not understood.
        """
        self.expression = expression
        try:
            self._root = ast.parse(expression.strip(), mode="eval").body
            self.fields = frozenset(condition.field for condition in _conditions(self._root))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            detail = error.msg if isinstance(error, SyntaxError) else str(error)
            shown = expression if len(expression) <= _LONGEST else f"{expression[:_LONGEST]} ..."
            raise filter_error(f"{shown!r} cannot be read: {detail[:_LONGEST]}. {_SYNTAX}") from error

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | Filter) -> Filter:
        """Return a filter from an expression, or from a mapping of fields to values, all of which must be equal.

        Args:
            value: A filter; an expression; or a mapping such as ``{"language": ["he", "en"], "draft": False}``, in
                which a list means any of its values.

        Raises:
            RecipeError: The expression cannot be read, or a value of the mapping is no constant, nor a list of them.
        """
        if isinstance(value, Filter):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping) or not value:
            message = "a filter is an expression, or a mapping of field names to values that is not empty"
            raise filter_error(f"{message}; found {value!r}")
        parts = []
        for field, constants in value.items():
            listed = constants if isinstance(constants, (list, tuple, set, frozenset)) else [constants]
            several = [one.item() if isinstance(one, np.generic) else one for one in listed]
            if not all(isinstance(constant, (str, int, float, bool, type(None))) for constant in several):
                raise filter_error(f"{field!r} is compared with {constants!r}, which is no text, number or bool")
            parts.append(f"field({field!r}) in {list(several)!r}")
        return cls(" and ".join(parts))

    def __repr__(self) -> str:
        return f"Filter({self.expression!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.expression == other.expression

    def __hash__(self) -> int:
        return hash(self.expression)

    def evaluate(self, matches: Callable[[Condition], np.ndarray]) -> np.ndarray:
        """Return which documents pass the filter: bool, (documents,).

        Args:
            matches: Function that returns which documents fulfil a condition: a bool array that may be changed.
        """
        return _evaluate(self._root, matches)

    def normalized(self) -> Comparison | Combination:
        """Return the filter as comparisons combined by ``and`` and ``or``, for translation into other languages.

        Negations are moved to the comparisons. They are exact there, because a comparison either holds for a document
        or does not, also if the document lacks the field.

        Example:
            >>> print(Filter("not (year > 2020 or draft)").normalized().operator)
            and
        """
        return _normalized(self._root, is_negated=False)


def _normalized(node: ast.expr, *, is_negated: bool) -> Comparison | Combination:
    if isinstance(node, ast.BoolOp):
        is_and = isinstance(node.op, ast.And) != is_negated
        return _combined(is_and, [_normalized(value, is_negated=is_negated) for value in node.values])
    if isinstance(node, ast.UnaryOp):
        return _normalized(node.operand, is_negated=not is_negated)
    parts = []
    for conditions, is_inverse in _comparisons(node):
        is_false = is_inverse != is_negated
        parts.append(_combined(is_false, [Comparison(condition, is_false) for condition in conditions]))
    return _combined(not is_negated, parts)


def _combined(is_and: bool, parts: Sequence[Comparison | Combination]) -> Comparison | Combination:
    return parts[0] if len(parts) == 1 else Combination("and" if is_and else "or", tuple(parts))


def _evaluate(node: ast.expr, matches: Callable[[Condition], np.ndarray]) -> np.ndarray:
    if isinstance(node, ast.BoolOp):
        combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        passed = _evaluate(node.values[0], matches)
        for value in node.values[1:]:
            combine(passed, _evaluate(value, matches), out=passed)
        return passed
    if isinstance(node, ast.UnaryOp):
        return ~_evaluate(node.operand, matches)
    results = []
    for conditions, is_negated in _comparisons(node):
        found = np.logical_or.reduce([matches(condition) for condition in conditions])
        results.append(~found if is_negated else found)
    all_hold: np.ndarray = np.logical_and.reduce(results)
    return all_hold


def _conditions(node: ast.expr) -> Iterator[Condition]:
    """Yield all conditions of an expression. Raise ValueError if it has another syntax."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _conditions(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _conditions(node.operand)
    else:
        for conditions, _ in _comparisons(node):
            yield from conditions


def _comparisons(node: ast.expr) -> list[tuple[list[Condition], bool]]:
    """Return comparisons that must all hold: conditions of which one must hold, and whether none must hold instead."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return [
            _comparison(left, operator, right, node)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
        if len(node.args) != 1 or node.keywords or not isinstance(prefix := _constant(node.args[0]), str):
            raise ValueError(f"{ast.unparse(node)}: startswith takes one text")
        return [([Condition(_required_field(node.func.value), "startswith", prefix)], False)]
    return [([Condition(_required_field(node), "==", True)], False)]  # a field that is true


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, whole: ast.expr) -> tuple[list[Condition], bool]:
    """Return the conditions of one comparison, of which one must hold, and whether none must hold instead."""
    is_negated = isinstance(operator, (ast.NotEq, ast.NotIn))
    if isinstance(operator, (ast.In, ast.NotIn)):
        if (field := _field(right)) is not None:
            return [Condition(field, "==", _constant(left))], is_negated
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            raise ValueError(f"{ast.unparse(whole)}: in needs a field, or a list of values that is not empty")
        field = _required_field(left)
        return [Condition(field, "==", _constant(value)) for value in right.elts], is_negated
    name = "==" if isinstance(operator, (ast.NotEq, ast.Is, ast.IsNot)) else _COMPARISONS[type(operator)]
    if isinstance(operator, ast.IsNot):
        is_negated = True
    if (field := _field(left)) is not None:
        constant = _constant(right)
    elif (field := _field(right)) is not None:
        constant, name = _constant(left), _FLIPPED.get(name, name)
    else:
        raise ValueError(f"{ast.unparse(whole)} does not compare a field with a constant")
    if name != "==" and (constant is None or isinstance(constant, bool)):
        raise ValueError(f"{ast.unparse(whole)}: only texts and numbers have an order")
    return [Condition(field, name, constant)], is_negated


def _field(node: ast.expr) -> str | None:
    """Return the name of the field that an expression stands for; None if it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (outer := _field(node.value)) is not None:
        return f"{outer}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "field":
        if len(node.args) == 1 and not node.keywords and isinstance(name := _constant(node.args[0]), str):
            return name
        raise ValueError(f"{ast.unparse(node)}: field takes one text, the name of the field")
    return None


def _required_field(node: ast.expr) -> str:
    if (field := _field(node)) is None:
        raise ValueError(f"{ast.unparse(node)} is not the name of a field")
    return field


def _constant(node: ast.expr) -> Constant:
    value: Any = node.value if isinstance(node, ast.Constant) else ...
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        operand = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if isinstance(operand, (int, float)) and not isinstance(operand, bool):
            value = -operand if isinstance(node.op, ast.USub) else operand
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number outside of 64 bits")
    if value is None or isinstance(value, (str, int, float, bool)):
        constant: Constant = value
        return constant
    raise ValueError(f"{ast.unparse(node)} is neither a text in quotation marks, a number, True, False nor None")
