"""The ready instructions that come with the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml

from .preset import Preset, from_entry
from .yaml_text import Loader

SHIPPED = Path(__file__).parents[1] / "presets.yaml"


@lru_cache(maxsize=1)
def shipped() -> dict[str, Preset]:
    """By key. Not by way of `parse`: a WebUI's start waits for this, and our own file needs none of its care."""
    entries = yaml.load(SHIPPED.read_text(encoding="utf8"), Loader)
    return {key: from_entry(SHIPPED, key, entry, own=False) for key, entry in entries.items()}
