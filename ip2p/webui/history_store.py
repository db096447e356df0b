"""Where the history of edits is kept: a folder for every browser window of every user, a numbered folder for every step.

In the extension's folder, so that nothing is lost when the WebUI restarts. A user's oldest windows and steps go first, and only
that user's. Where nobody logs in there is one user, the machine's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import RLock

from PIL import Image

from ..errors import EditError
from ..files import remove, sync, written_whole
from .folder import KEPT

MAX_STEPS, MAX_WINDOWS = 20, 8
MAX_BYTES = 512_000_000  # of one user's history
THUMBNAIL = (256, 256)
WINDOW_ID = re.compile(r"[a-z0-9]{8,40}")

_lock = RLock()  # Gradio answers several events at once


@dataclass(frozen=True)
class Limits:
    """Of one user's history. steps: of a window; bytes: of all its files."""

    steps: int = MAX_STEPS
    bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Step:
    """One edit: the picture it started from, its first result and that result's infotext. The pictures are read whole."""

    picture: Image.Image
    result: Image.Image
    infotext: str


class History:
    """The history of one user. user: the name they logged in with, None where nobody does."""

    def __init__(self, user: str | None = None, root: Path | None = None, limits: Limits | None = None):
        self.limits = limits or Limits()
        root = KEPT / "history" if root is None else root
        # Earlier versions kept every window beside the others; those belong to the machine's user.
        self.root = root if user is None else root / f"user-{sha256(user.encode(errors='surrogatepass')).hexdigest()[:24]}"

    def folder_of(self, window: str) -> Path | None:
        """None for an id that no window of ours has, which keeps paths from the network out."""
        return self.root / window if isinstance(window, str) and WINDOW_ID.fullmatch(window) else None

    def steps(self, window: str) -> list[Path]:
        """The folders of the window's steps, oldest first."""
        folder = self.folder_of(window)
        if folder is None or not folder.is_dir():
            return []
        return sorted((path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()), key=lambda path: int(path.name))

    def add(self, window: str, step: Step) -> None:
        """Adds a step and drops what is too old. Raises EditError when it can't be kept."""
        folder = self.folder_of(window)
        if folder is None:
            return
        with _lock:
            known = self.steps(window)
            number = int(known[-1].name) + 1 if known else 1
            with written_whole(folder / str(number)) as beside:
                beside.mkdir()
                step.picture.save(beside / "picture.png", compress_level=1)
                step.result.save(beside / "result.png", compress_level=1)
                thumbnail(step.result).save(beside / "thumbnail.png")
                about = {"infotext": step.infotext, "time": time.time()}
                (beside / "step.json").write_text(json.dumps(about), encoding="utf8")
                for file in beside.iterdir():
                    sync(file)
            self._drop_old(folder)

    def step_back(self, window: str) -> Step | None:
        """Takes the last step that can be read off the window's history and gives it."""
        with _lock:
            for folder in reversed(self.steps(window)):
                try:
                    return read(folder)
                except EditError:
                    continue  # a damaged one goes with the step
                finally:
                    remove(folder)
        return None

    def clear(self) -> None:
        """Deletes the steps of all windows of this user."""
        with _lock:
            for folder in self._windows():
                remove(folder)

    def step(self, window: str, place: int) -> Step | None:
        """The step at this place among those that `thumbnails` gives; None when there is none."""
        with _lock:
            whole = [folder for folder, _ in self._whole(window)[0]]
            return read(whole[place]) if 0 <= place < len(whole) else None

    def thumbnails(self, window: str) -> tuple[list[tuple[Image.Image, str]], list[Path]]:
        """(results in small with their instructions, oldest first; the folders of steps that are damaged)."""
        with _lock:
            whole, damaged = self._whole(window)
            return [shown for _, shown in whole], damaged

    def _whole(self, window: str) -> tuple[list[tuple[Path, tuple[Image.Image, str]]], list[Path]]:
        whole, damaged = [], []
        for folder in self.steps(window):
            try:
                small = folder / "thumbnail.png"
                image = load(small) if small.is_file() else thumbnail(load(folder / "result.png"))
                whole.append((folder, (image, (infotext_of(folder).splitlines() or [""])[0])))
            except EditError:
                damaged.append(folder)
        return whole, damaged

    def _windows(self) -> list[Path]:
        """The folders of this user's windows."""
        if not self.root.is_dir():
            return []
        return [path for path in self.root.iterdir() if path.is_dir() and WINDOW_ID.fullmatch(path.name)]

    def _drop_old(self, newest: Path) -> None:
        """newest: the window that has just got a step, which stays whatever its size."""
        for folder in self.steps(newest.name)[: -self.limits.steps]:
            remove(folder)
        windows = [path for path in self._windows() if path != newest]
        windows.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in windows[MAX_WINDOWS - 1 :]:
            remove(old)
        kept = [
            *self.steps(newest.name)[::-1],
            *(folder for window in windows[: MAX_WINDOWS - 1] for folder in self.steps(window.name)[::-1]),
        ]
        size = 0
        for i, folder in enumerate(kept):
            size += size_of(folder.iterdir())
            if i and size > self.limits.bytes:
                remove(folder)


def read(folder: Path) -> Step:
    """Raises EditError when the step is damaged."""
    return Step(load(folder / "picture.png"), load(folder / "result.png"), infotext_of(folder))


def load(file: Path) -> Image.Image:
    try:
        with Image.open(file, formats=["PNG"]) as image:
            image.load()
            return image
    except Exception as e:  # whatever Pillow raises for a damaged file
        raise EditError(f"{file} is damaged.") from e


def infotext_of(folder: Path) -> str:
    try:
        infotext = json.loads((folder / "step.json").read_text(encoding="utf8"))["infotext"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EditError(f"{folder / 'step.json'} is damaged.") from e
    if not isinstance(infotext, str):
        raise EditError(f"{folder / 'step.json'} is damaged.")
    return infotext


def thumbnail(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail(THUMBNAIL)
    return small


def size_of(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
