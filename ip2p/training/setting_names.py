"""The settings of a configuration by their names with dots, and the known one that a mistyped name means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from omegaconf import DictConfig, OmegaConf


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
