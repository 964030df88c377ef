"""Reading of YAML text, with bounds on its size, depth and aliases."""

from __future__ import annotations

from typing import Any

import yaml

_MAX_CHARACTERS = 2**20
_MAX_DEPTH = 100
_MAX_NODES = 100_000
"""Nodes after the expansion of aliases, of which a few hundred bytes can make 10^10."""


class YamlTextError(ValueError):
    """YAML text cannot be read.

    Attributes:
        where: Position of the fault, such as ``line 3, column 7``; empty if it is not known.
    """

    def __init__(self, message: str, mark: Any = None) -> None:
        super().__init__(message)
        self.where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: dictionaries, lists, texts, numbers, booleans and None.

    Dates are returned as they are written, as texts.

    Args:
        text: The text.

    Raises:
        YamlTextError: The text is not valid YAML, is longer than 1 MiB, is nested deeper than 100 levels, has more than
            100,000 values after its aliases are expanded, contains an unpaired surrogate, or an alias refers to itself.

    Example:
        >>> parse_yaml("day: 2024-01-31")
        {'day': '2024-01-31'}
    """
    if len(text) > _MAX_CHARACTERS:
        raise YamlTextError(f"the text has {len(text):,} characters, more than {_MAX_CHARACTERS:,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_nodes(node, {}, set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise YamlTextError(error.problem or str(error), error.problem_mark) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise YamlTextError(str(error).partition("\n")[0]) from error


class _Loader(yaml.SafeLoader):
    """Loader that bounds the depth, and reports each value that cannot be converted with its position."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > _MAX_DEPTH:
            raise YamlTextError(f"it is nested deeper than {_MAX_DEPTH} levels", self._mark())
        if self._count > _MAX_NODES:  # before the whole text is read, which would take seconds
            raise YamlTextError(f"it has more than {_MAX_NODES:,} values", self._mark())
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _mark(self) -> Any:
        return self.peek_event().start_mark  # type: ignore[no-untyped-call]

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, YamlTextError):
                raise
            kind = node.tag.rpartition(":")[2]
            raise YamlTextError(f"{str(node.value)[:60]!r} cannot be read as {kind}", node.start_mark) from error


def _text(loader: yaml.SafeLoader, node: Any) -> Any:
    return loader.construct_scalar(node)


# Dates and times are texts: no setting is one, and PyYAML raises Python's errors for those that do not exist.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def _count_nodes(node: Any, known: dict[Any, int], open_nodes: set[Any]) -> int:
    """Return the number of nodes below a node, with each alias expanded. Raises YamlTextError if there are too many."""
    if node in known:
        return known[node]
    if node in open_nodes:
        raise YamlTextError("an alias refers to itself", node.start_mark)
    count = 1
    if isinstance(node, yaml.ScalarNode):
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise YamlTextError("it contains an unpaired surrogate (\\ud800 to \\udfff)", node.start_mark)
    else:
        open_nodes.add(node)
        is_mapping = isinstance(node, yaml.MappingNode)
        for child in (part for pair in node.value for part in pair) if is_mapping else node.value:
            count += _count_nodes(child, known, open_nodes)
        open_nodes.remove(node)
    if count > _MAX_NODES:
        raise YamlTextError(f"it has more than {_MAX_NODES:,} values after its aliases are expanded", node.start_mark)
    known[node] = count
    return count
