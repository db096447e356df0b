"""Settings as a yaml file and a command give them, by their names with dots, and the known one that a mistyped name means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import EditError
from ..files import why

RESOLVER = re.compile(r"\$\{[^}]*:")  # “${oc.env:HOME}”, unlike “${seed}”


def nearest(key: str, known: Sequence[str]) -> str:
    """By its last part first: a right name in a wrong place is found too, the last stage's before all others."""

    def likeness(other: str) -> tuple[float, ...]:
        (place, _, name), (other_place, _, other_name) = key.rpartition("."), other.rpartition(".")
        return SequenceMatcher(None, name, other_name).ratio(), SequenceMatcher(None, place, other_place).ratio()

    return max(reversed(known), key=likeness)


def keys_of(config: DictConfig, above: str = "", leaves: bool = False) -> Iterator[str]:
    """Every key with dots; leaves: only those of values."""
    for key in config:
        name = above + str(key)
        below = None if OmegaConf.is_missing(config, key) else config._get_node(key)
        if isinstance(below, DictConfig):
            if not leaves or not len(below):
                yield name
            yield from keys_of(below, f"{name}.", leaves)
        else:
            yield name


def read(path: Path) -> DictConfig:
    """Raises EditError when it is no yaml of settings."""
    try:
        config = OmegaConf.load(path)
    except Exception as e:  # yaml's own errors
        raise EditError(f"{path} is no configuration: {why(e)}.") from e
    if not isinstance(config, DictConfig):
        raise EditError(f"{path} is no configuration: it has no settings.")
    refuse_resolvers(config, str(path))
    return config


def refuse_resolvers(config: DictConfig, source: str) -> None:
    """Raises EditError for a value that OmegaConf would compute, as from an environment variable: the value would be written into
    config.yaml and the exported model. Settings may still refer to others."""

    def check(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                check(below, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list):
            for below in value:
                check(below, name)
        elif isinstance(value, str) and RESOLVER.search(value):
            raise EditError(f"{name} is “{value[:80]}” (in {source}): write the value itself, since it is kept with the model.")

    check(OmegaConf.to_container(config, resolve=False), "")


def overrides_of(changes: Sequence[str], example: str) -> DictConfig:
    """changes: `key=value`, with dots for what is within, as a command has them; example: one, for the sentence on what is none.
    Raises EditError."""
    if wrong := next((change for change in changes if "=" not in change), None):
        raise EditError(f"“{wrong}” is no setting: write key=value, for instance {example}.")
    try:
        overrides = OmegaConf.from_dotlist(list(changes))
    except Exception as e:  # a value is yaml too
        raise EditError(f"The settings {' '.join(changes)} can't be read: {why(e)}.") from e
    refuse_resolvers(overrides, "the command")
    return overrides


def what_is_wrong(e: Exception) -> str:
    """What OmegaConf says of a value, without where it is."""
    return why(ValueError(getattr(e, "msg", None) or e))
