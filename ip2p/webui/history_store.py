"""Where the history of edits is kept: a folder for every browser window of every user, a numbered folder for every step.

In the extension's folder, so that nothing is lost when the WebUI restarts. A user's oldest windows and steps go first, and only
that user's. Where nobody logs in there is one user, the machine's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import RLock

from PIL import Image

from ..errors import EditError
from ..files import remove, sync, written_whole
from ..images.kinds import SHOWN_BY_BROWSERS, kind_of_file
from .folder import KEPT

MAX_STEPS, MAX_WINDOWS = 20, 8
MAX_BYTES = 512_000_000  # of one user's history
THUMBNAIL, MASK_SIDE = (256, 256), (1024, 1024)
WINDOW_ID = re.compile(r"[a-z0-9]{8,40}")

_lock = RLock()  # Gradio answers several events at once


@dataclass(frozen=True)
class Limits:
    """Of one user's history. steps: of a window; bytes: of all its files."""

    steps: int = MAX_STEPS
    bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Made:
    """One edit that was made: the picture it started from, its first result, that one's infotext, the host's description of it and the
    mask. A picture is a file, which is taken over as it is, or in memory."""

    picture: Image.Image | Path
    result: Image.Image | Path
    infotext: str
    info: dict = field(default_factory=dict)
    mask: Image.Image | None = None


@dataclass(frozen=True)
class Step:
    """One edit that is kept: the same, in files. number: by which it is asked for."""

    number: int
    picture: Path
    result: Path
    thumbnail: Path
    infotext: str
    info: dict
    mask: Path | None

    @property
    def instruction(self) -> str:
        return (self.infotext.splitlines() or [""])[0]


@dataclass(frozen=True)
class Place:
    """Where a window is in its history. settings: the step whose picture, mask and settings it shows, result: whose result; None for none."""

    settings: Step | None
    result: Step | None


@dataclass
class Trail:
    """The steps that *Undo* and *Redo* go along, by number. done: how many of them are not undone; undone: whether the last move undid one."""

    steps: list[int]
    done: int
    undone: bool = False


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

    def folders(self, window: str) -> list[Path]:
        """Of the window's steps, oldest first."""
        folder = self.folder_of(window)
        if folder is None or not folder.is_dir():
            return []
        return sorted((path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()), key=lambda path: int(path.name))

    def add(self, window: str, made: Made) -> None:
        """Adds a step after the one the window is at, and drops what is too old. Raises EditError when it can't be kept."""
        folder = self.folder_of(window)
        if folder is None:
            return
        with _lock:
            trail, known = self._trail(window), self.folders(window)
            number = int(known[-1].name) + 1 if known else 1
            with written_whole(folder / str(number)) as beside:
                beside.mkdir()
                put(made.picture, beside, "picture")
                put(made.result, beside, "result")
                thumbnail(made.result).save(beside / "thumbnail.png")
                if made.mask is not None:
                    as_layer(made.mask).save(beside / "mask.png")
                about = {"infotext": made.infotext, "info": made.info, "time": time.time()}
                (beside / "step.json").write_text(json.dumps(about), encoding="utf8")
                for file in beside.iterdir():
                    sync(file)
            self._keep_trail(window, Trail([*trail.steps[: trail.done], number], trail.done + 1))
            self._drop_old(folder)

    def steps(self, window: str) -> tuple[list[Step], list[Path]]:
        """(those that can be read, oldest first; the folders of those that are damaged)."""
        whole, damaged = [], []
        with _lock:
            for folder in self.folders(window):
                try:
                    whole.append(read(folder))
                except EditError:
                    damaged.append(folder)
        return whole, damaged

    def place(self, window: str) -> Place:
        """Where the window is: what a reload of it brings back."""
        with _lock:
            steps = {step.number: step for step in self.steps(window)[0]}
            trail = self._trail(window, steps)
            done = [steps[number] for number in trail.steps[: trail.done]]
            undone = [steps[number] for number in trail.steps[trail.done :]]
            result = done[-1] if done else None
            return Place(undone[0] if undone and (trail.undone or result is None) else result, result)

    def undo(self, window: str) -> Place | None:
        """Takes back the last edit: what was there before it, and its settings to be changed. None where nothing is left to undo."""
        return self._move(window, -1)

    def redo(self, window: str) -> Place | None:
        """The edit that was undone last. None where none was, or another was made since."""
        return self._move(window, +1)

    def go_to(self, window: str, number: int) -> Place | None:
        """A step of the strip, by its number; None where there is none. From one that was undone and replaced, *Undo* comes back here."""
        with _lock:
            trail = self._trail(window)
            if number not in {step.number for step in self.steps(window)[0]}:
                return None
            if number in trail.steps:
                trail = Trail(trail.steps, trail.steps.index(number) + 1)
            else:
                trail = Trail([*trail.steps[: trail.done], number], trail.done + 1)
            self._keep_trail(window, trail)
            return self.place(window)

    def clear(self) -> None:
        """Deletes the steps of all windows of this user."""
        with _lock:
            for folder in self._windows():
                remove(folder)

    def _move(self, window: str, by: int) -> Place | None:
        with _lock:
            trail = self._trail(window)
            if not 0 <= trail.done + by <= len(trail.steps):
                return None
            self._keep_trail(window, Trail(trail.steps, trail.done + by, undone=by < 0))
            return self.place(window)

    def _trail(self, window: str, steps: Iterable[int] | None = None) -> Trail:
        """As it is kept, of the steps that can still be read; all of them, done, where none is kept."""
        folder = self.folder_of(window)
        there = [step.number for step in self.steps(window)[0]] if steps is None else list(steps)
        try:
            kept = json.loads((folder / "trail.json").read_text(encoding="utf8"))
            trail = Trail([int(number) for number in kept["steps"]], int(kept["done"]), bool(kept["undone"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Trail(there, len(there))
        done = sum(number in there for number in trail.steps[: max(trail.done, 0)])
        return Trail([number for number in trail.steps if number in there], done, trail.undone)

    def _keep_trail(self, window: str, trail: Trail) -> None:
        with written_whole(self.folder_of(window) / "trail.json", force=True) as beside:
            beside.write_text(json.dumps(vars(trail)), encoding="utf8")

    def _windows(self) -> list[Path]:
        """The folders of this user's windows."""
        if not self.root.is_dir():
            return []
        return [path for path in self.root.iterdir() if path.is_dir() and WINDOW_ID.fullmatch(path.name)]

    def _drop_old(self, newest: Path) -> None:
        """newest: the window that has just got a step, which stays whatever its size."""
        for folder in self.folders(newest.name)[: -self.limits.steps]:
            remove(folder)
        windows = [path for path in self._windows() if path != newest]
        windows.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in windows[MAX_WINDOWS - 1 :]:
            remove(old)
        kept = [
            *self.folders(newest.name)[::-1],
            *(folder for window in windows[: MAX_WINDOWS - 1] for folder in self.folders(window.name)[::-1]),
        ]
        size = 0
        for i, folder in enumerate(kept):
            size += size_of(folder.iterdir())
            if i and size > self.limits.bytes:
                remove(folder)


def put(source: Image.Image | Path, folder: Path, name: str) -> None:
    """A file as it is, by a second link where the disk allows that; a picture in memory, or of a kind that browsers don't show, as PNG."""
    if isinstance(source, Path):
        suffix = SHOWN_BY_BROWSERS.get(kind_of_file(source) or "")
        if suffix:
            try:
                os.link(source, folder / f"{name}{suffix}")
            except OSError:
                shutil.copyfile(source, folder / f"{name}{suffix}")
            return
        raise EditError(f"{source} is no picture that browsers show.")
    source.save(folder / f"{name}.png", compress_level=1)


def read(folder: Path) -> Step:
    """Raises EditError when the step is damaged."""
    infotext, info = texts_of(folder)
    mask = folder / "mask.png"
    picture, result, small = (file_named(folder, name) for name in ("picture", "result", "thumbnail"))
    return Step(int(folder.name), picture, result, small, infotext, info, mask if mask.is_file() else None)


def file_named(folder: Path, name: str) -> Path:
    """The picture of this name, whatever its suffix. Raises EditError for one that is gone or is no picture."""
    for file in folder.glob(f"{name}.*"):
        if kind_of_file(file) in SHOWN_BY_BROWSERS:
            return file
    raise EditError(f"{folder / name} is damaged.")


def texts_of(folder: Path) -> tuple[str, dict]:
    """(infotext, the host's description) of a step. Raises EditError."""
    try:
        about = json.loads((folder / "step.json").read_text(encoding="utf8"))
        infotext, info = about["infotext"], about.get("info", {})
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EditError(f"{folder / 'step.json'} is damaged.") from e
    if not isinstance(infotext, str) or not isinstance(info, dict):
        raise EditError(f"{folder / 'step.json'} is damaged.")
    return infotext, info


def thumbnail(source: Image.Image | Path) -> Image.Image:
    image = Image.open(source) if isinstance(source, Path) else source
    small = image.convert("RGB")
    small.thumbnail(THUMBNAIL)
    return small


def as_layer(mask: Image.Image) -> Image.Image:
    """A mask as the page paints it: opaque where it is white, within MASK_SIDE."""
    small = mask.convert("L")
    small.thumbnail(MASK_SIDE)
    return Image.merge("LA", (Image.new("L", small.size, 255), small))


def size_of(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
