"""Writing files and folders whole or not at all, replacing only what is our own, and saying in a sentence why it failed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from .errors import EditError

try:
    import fcntl
except ImportError:  # Windows, where a folder with an open file can't be removed
    fcntl = None  # type: ignore[assignment]

DAY = 86_400  # seconds after which another machine's unfinished file is taken for abandoned
UNFINISHED = re.compile(r"\.ip2p-(?P<target>[0-9a-f]{8})-(?P<machine>[0-9a-f]{4})-(?P<process>\d+)-[0-9a-f]{8}\.(?P<kind>part|old)")
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".tga", ".jp2"}


@contextmanager
def written_whole(path: Path, force: bool = False, *, sources: Iterable[Path] = (), ours: Sequence[str] = ()) -> Iterator[Path]:
    """Within the block a place beside `path` to write a file or a folder to; it becomes `path` when the block succeeds and is
    removed when it fails. What a killed run left of the same target is cleared first.

    With `force` a file at `path` is replaced, and a folder if `refuse_existing` finds it to be an output of ours; the old one
    steps aside first and comes back if the new one can't take its place. sources, ours: as there.
    Raises EditError as `refuse_existing` does, and for a full disk or a missing right.
    """
    refuse_existing(path, force, sources=sources, ours=ours)
    beside = unfinished(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_unfinished(path)
        try:
            yield beside
            if beside.is_file():
                sync(beside)
            refuse_existing(path, force, sources=sources, ours=ours)  # another run may have written it meanwhile
            put_in_place(beside, path)
        finally:
            remove(beside)
    except OSError as e:
        raise EditError(f"{path} could not be written: {why(e)}.") from e


def refuse_existing(path: Path, force: bool, *, sources: Iterable[Path] = (), ours: Sequence[str] = ()) -> None:
    """Whether `path` may be written to: the one rule for every verb.

    sources: what the new content is made from; neither it nor a folder that holds it is ever replaced.
    ours: patterns of the files that an output of this kind has, such as "*/config.json", from which a folder is recognised as
    one: a folder with any other file in it is left alone. Raises EditError.
    """
    if not (path.exists() or path.is_symlink()):
        return
    if not force:
        raise EditError(f"{path} exists already: choose another name, or overwrite it with --force.")
    for source in sources:
        if source.exists() and source.resolve() == path.resolve():
            raise EditError(f"The output is the source itself, {path}: choose another name.")
        if source.exists() and path.is_dir() and source.resolve().is_relative_to(path.resolve()):
            raise EditError(f"{path} holds the source, {source}, and is not overwritten: choose another name.")
    if path.is_dir() and not path.is_symlink() and (foreign := foreign_file(path, ours)):
        raise EditError(f"{path} is not overwritten, because it holds {foreign}, which is no part of such an output: choose another name.")


def foreign_file(folder: Path, ours: Sequence[str]) -> Path | None:
    """A file, link or empty folder below `folder` that none of the patterns fits, or None."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
            continue
        name = path.relative_to(folder)
        if (
            path.is_symlink()
            or path.is_dir()
            or not any(len(Path(p).parts) == len(name.parts) and fnmatch(name.as_posix(), p) for p in ours)
        ):
            return name
    return None


def check_place(path: Path) -> None:
    """Whether a file can be written to `path`, found out without writing anything, so that no work is done in vain. Raises EditError
    for a name that is too long, a folder at its place, a file in its way or a missing right."""
    try:
        if path.is_dir():
            raise EditError(f"{path} is a folder: choose another name.")
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        longest = os.pathconf(above, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if any(len(os.fsencode(part)) > longest for part in path.absolute().relative_to(above).parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        raise EditError(f"{path} could not be written: {why(e)}.") from e


def put_in_place(beside: Path, path: Path) -> None:
    """Renames `beside` to `path`. A folder that is there steps aside first, and comes back when that fails."""
    if not path.is_dir() or path.is_symlink():
        os.replace(beside, path)
        return
    old = unfinished(path, "old")
    os.replace(path, old)
    try:
        os.replace(beside, path)
    except OSError:
        os.replace(old, path)
        raise
    remove(old)


def unfinished(path: Path, kind: str) -> Path:
    """A name beside `path` for what is not finished, short whatever the target's, that tells target, machine and process."""
    return path.with_name(f".ip2p-{digest_of_name(path)}-{machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def clear_unfinished(path: Path) -> None:
    """Removes what runs that were killed left beside `path` of this target, and nothing else: a folder that had stepped aside
    comes back if nothing took its place. Files of a process that still runs stay."""
    for entry in path.parent.glob(f".ip2p-{digest_of_name(path)}-*"):
        match = UNFINISHED.fullmatch(entry.name)
        if match is None or in_use(entry, match["machine"], int(match["process"])):
            continue
        if match["kind"] == "old" and not path.exists():
            os.replace(entry, path)
        else:
            remove(entry)


def in_use(entry: Path, on_machine: str, process: int) -> bool:
    if on_machine == machine() and os.name == "posix":
        return is_running(process)
    return time.time() - entry.lstat().st_mtime < DAY


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        return True
    return True


def digest_of_name(path: Path) -> str:
    return hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()[:8]


def machine() -> str:
    return hashlib.sha256(str(uuid.getnode()).encode()).hexdigest()[:4]


def take_lock(file: IO[bytes]) -> None:
    """Until the file is closed or the process ends, no other process has this lock. Raises BlockingIOError where one has it."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync(path: Path) -> None:
    """Until the content is on the disk: a rename must not get there before it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def why(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
