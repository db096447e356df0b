"""Files that belong together, written whole or not at all, also when the program is killed while it writes them.

They are written into a hidden folder beside their places and renamed when all are complete, the one that others are found by last.
The folder's name holds a mark and a digest of that one's name, so the next run of the same command finds what a killed run left:
it puts back what the killed run had moved and removes the folder. A run that is still going on holds a lock and is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import EditError
from ..files import refuse_existing, remove, take_lock, why

JOURNAL, LOCK = "moved.json", "lock"


@contextmanager
def written_together(
    targets: Sequence[Path], force: bool = False, *, sources: Iterable[Path] = (), ours: Sequence[str] = ()
) -> Iterator[list[Path]]:
    """Within the block a place for each of `targets`, which lie in one folder, to write a file or a folder to. When the block
    succeeds, what was written is renamed to its target in the order of `targets`; when it fails, everything is as it was.

    sources, ours: see `files.refuse_existing`, which holds for every target. Raises EditError as it does, and for a full disk or a
    missing right.
    """
    main, sources = targets[-1], list(sources)
    try:
        main.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(main)
        for target in targets:
            refuse_existing(target, force, sources=sources, ours=ours)
        folder = main.parent / f"{prefix_of(main)}{uuid.uuid4().hex[:8]}.part"
        folder.mkdir()
        try:
            with open(folder / LOCK, "wb") as lock:
                with contextlib.suppress(OSError):  # a file system without locks
                    take_lock(lock)
                places = [folder / str(i) for i in range(len(targets))]
                yield places
                try:
                    move(folder, places, targets, force)
                except BaseException:
                    put_back(folder)
                    raise
        finally:
            remove(folder)
    except OSError as e:
        raise EditError(f"{main} could not be written: {why(e)}.") from e


def prefix_of(main: Path) -> str:
    return f".ip2p-{hashlib.sha256(main.name.encode()).hexdigest()[:10]}-"


def move(folder: Path, places: Sequence[Path], targets: Sequence[Path], force: bool) -> None:
    """Renames what is complete to its targets; what was there is kept in the folder until all is done."""
    moves = [(place, target) for place, target in zip(places, targets) if place.exists()]
    journal = [{"place": place.name, "target": target.name, "inode": place.stat().st_ino} for place, target in moves]
    with open(folder / JOURNAL, "w", encoding="utf8") as file:
        json.dump(journal, file)
        file.flush()
        os.fsync(file.fileno())
    for place, target in moves:
        if not force:
            refuse_existing(target, False)  # another run was faster
        if target.is_dir() or (target != moves[-1][1] and (target.exists() or target.is_symlink())):
            os.replace(target, old(place))
        os.replace(place, target)


def old(place: Path) -> Path:
    """Where what was at a target is kept."""
    return place.with_name(f"old-{place.name}")


def put_back(folder: Path) -> None:
    """Undoes `move`, from wherever it stopped; nothing that another program wrote meanwhile is touched."""
    try:
        journal = json.loads((folder / JOURNAL).read_text(encoding="utf8"))
        moves = [(folder / Path(one["place"]).name, folder.parent / Path(one["target"]).name, one["inode"]) for one in journal]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing was moved
    if all(not place.exists() for place, _, _ in moves):
        return  # all of it was
    for place, target, inode in reversed(moves):
        if not place.exists() and target.exists() and target.stat().st_ino == inode:
            remove(target)
        if old(place).exists() and not target.exists():
            os.replace(old(place), target)


def clear_leftovers(main: Path) -> None:
    """Removes what killed runs that wrote `main` left, and puts back what they had moved."""
    for folder in main.parent.glob(f"{prefix_of(main)}*.part"):
        with contextlib.suppress(OSError):
            with open(folder / LOCK, "ab") as lock:
                take_lock(lock)  # raises BlockingIOError while the run that made it goes on
                put_back(folder)
            shutil.rmtree(folder)
