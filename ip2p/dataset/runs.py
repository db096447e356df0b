"""Folders of long runs: which of them a command may go on with, and the lines of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import why


def refuse_other(folder: Path, there: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """there: the settings of the run in the folder. Raises EditError where one of `settings` is another there."""
    for name in settings:
        if there.get(name) != settings[name]:
            raise EditError(
                f"{folder} is another run's: its {name} is {there.get(name)}, not {settings[name]}. Choose another --output, or ask for the same."
            )


def read_object(file: Path) -> dict[str, Any]:
    """Raises EditError where it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    if not isinstance(content, dict):
        raise EditError(f"{file} can't be read: it holds no names and values.")
    return content


def line_of(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
