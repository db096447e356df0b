"""Files that somebody else made, read so that nothing in them can hang the reader or reach outside their set."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import why


def read_regular(path: str | Path) -> bytes:
    """All of a file. Raises EditError when it is a pipe or a device, which may never end, or can't be read; the sentence names no path."""
    try:
        # Opening a pipe waits for somebody to write into it, unless this says not to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise EditError("can't be read: it is not a regular file")
            return file.read()
    except EditError:
        raise
    except (OSError, ValueError) as e:  # a name with NUL in it is a ValueError
        raise EditError(f"can't be read: {why(e)}") from e


def read_inside(path: str | Path, roots: Sequence[str | Path]) -> bytes:
    """All of a file that lies below one of `roots`, links resolved; a relative path is looked up in the first. Raises EditError as
    `read_regular` does, and when the file is elsewhere: a set from the hub must not pull private files into a copy of it.
    """
    try:
        real = Path(os.path.realpath(Path(roots[0], path) if roots else path))
        inside = any(real.is_relative_to(os.path.realpath(root)) for root in roots)
    except (OSError, ValueError) as e:
        raise EditError(f"can't be read: {why(e)}") from e
    if not inside:
        raise EditError("can't be read: it is outside the set's folder")
    return read_regular(real)


def read_text(path: Path) -> str:
    """UTF-8. Raises EditError as `read_regular` does, and for other bytes."""
    data = read_regular(path)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as e:
        raise EditError(f"can't be read: {why(e)}") from e


def parse_json(text: str) -> Any:
    """Raises ValueError, for JSON that is nested too deeply as well."""
    try:
        return json.loads(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e


def parse_object(text: object) -> dict[str, Any]:
    """The object that JSON holds; {} for anything else."""
    try:
        value = parse_json(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
