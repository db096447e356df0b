"""Reading a person's YAML: plain values, nothing that makes objects, and nothing whose cost is out of proportion to its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import EditError
from ..files import why

try:
    from yaml import CSafeDumper as Dumper
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml, ten times slower
    from yaml import SafeDumper as Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_DEPTH = 8  # lists and mappings in one another; presets have four


class PlainLoader(Loader):
    """YAML without a key that stands twice, and with dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.MarkedYAMLError(problem="a name that stands twice", problem_mark=node.start_mark)
        return mapping


def parse(text: str, path: Path) -> tuple[dict[Any, Any], bool]:
    """(the entries by key, whether more of them may be written below the last one). Raises EditError when it is not YAML with an
    entry for every key."""
    try:
        open_ended = checked(text)
        entries = yaml.load(text, PlainLoader)
    except Exception as e:  # YAML and its conversion of numbers have no error in common
        raise EditError(f"{path} could not be read as YAML: {fault(e)}.") from e
    entries = {} if entries is None else entries
    if not isinstance(entries, dict):
        raise EditError(f"{path} must have a name for every entry, but it is a list.")
    return entries, open_ended


def checked(text: str) -> bool:
    """Whether lines below the text go on with its outermost mapping. Raises yaml.MarkedYAMLError for an alias, of which a few lines
    would fill the memory, and for lists within lists that go too deep."""
    depth, open_ended, documents = 0, True, 0
    for event in yaml.parse(text, Loader):
        start: Any = event.start_mark  # libyaml's or Python's own
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias (“*a”), which is not allowed: write the values out", problem_mark=start)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.DocumentEndEvent):
            open_ended = open_ended and not event.explicit and documents == 1
        elif depth == 0 and isinstance(event, yaml.NodeEvent):
            open_ended = isinstance(event, yaml.MappingStartEvent) and not event.flow_style and start.column == 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} lists in one another", problem_mark=start)
    return open_ended


def dumped(entries: dict[Any, Any]) -> str:
    return yaml.dump(entries, Dumper=Dumper, allow_unicode=True, sort_keys=False)


def fault(error: Exception) -> str:
    """An error of reading YAML in one line: the problem and its line, where they are known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"{problem} in line {mark.line + 1}" if mark is not None and problem else why(error)
