"""Writing files whole or not at all, and saying in a sentence why it failed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import EditError

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".tga", ".jp2"}


def refuse_existing(path: Path, force: bool) -> None:
    """Raises EditError when there is something at `path` already, unless `force`."""
    if not force and (path.exists() or path.is_symlink()):
        raise EditError(f"{path} exists already: choose another name, or overwrite it with --force.")


@contextmanager
def written_whole(path: Path, force: bool = False) -> Iterator[Path]:
    """Within the block a place beside `path` to write a file or a folder to; renamed to `path` when the block succeeds,
    removed when it fails. Raises EditError when `path` exists and not `force`, and for a full disk or a missing right.
    """
    refuse_existing(path, force)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            if beside.is_dir() and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            os.replace(beside, path)
        finally:
            remove(beside)
    except OSError as e:
        raise EditError(f"{path} could not be written: {why(e)}.") from e


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def why(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
