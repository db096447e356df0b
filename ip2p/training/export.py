"""The finished model as people use it: one file for the WebUI with its yaml, beside the diffusers folder."""

from __future__ import annotations

from pathlib import Path

from .config import Config


def export(config: Config, folder: Path) -> list[Path]:
    return []
