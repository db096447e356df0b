"""A person's own ready instructions: a YAML file that they may edit by hand, read again whenever it has changed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import why, written_whole
from .preset import IN_FILE, MAX_NAME, Preset, from_entry, quoted
from .shipped import shipped
from .yaml_text import dumped, parse

FILE_NAME = "presets.yaml"
HEADER = "# Your own presets for Instruct edit. Deleting or replacing one rewrites this file: comments are lost then, entries are kept.\n\n"
MAX_OWN, MAX_FILE = 500, 1_000_000  # own presets, and bytes of their file
MAX_KNOWN = 16  # files whose content is kept in memory

_saving = threading.Lock()


@dataclass(frozen=True)
class OwnFile:
    """What a file holds.

    text: the file's; entries: by the file's keys, unchecked; presets: by the keys that they are offered under; key_in_file: of these
    the file's own; faults: a sentence for everything that can't be used; open_ended: whether an entry may be written below the last.
    """

    text: str
    entries: dict[Any, Any]
    presets: dict[str, Preset]
    key_in_file: dict[str, Any]
    faults: tuple[str, ...]
    open_ended: bool


_known: dict[Path, OwnFile] = {}


def folder_of(root: Path, user: str | None) -> Path:
    """Where a user's own presets are, below `root`. user: the name they logged in with; None for the machine's own, where nobody
    does."""
    return root / f"user-{sha256(user.encode(errors='surrogatepass')).hexdigest()[:24]}" if user else root


def save_own(user_folder: Path, preset: Preset, overwrite: bool = False) -> Preset:
    """Adds a preset to the person's own, or with `overwrite` replaces theirs of the same key; returns it as saved: under a key of its
    own where it had a shipped one's.

    The file is written beside and renamed: it is always whole. Entries that cannot be used stay in it.
    Raises EditError when the preset exists, there are too many, or the file cannot be read or written.
    """
    path = Path(user_folder) / FILE_NAME
    preset = replace(preset, own=True)
    if preset.key in shipped():
        preset = beside_shipped(preset, set(shipped()))
    with _saving:
        own = read(path)
        exists = preset.key in own.presets or preset.key in own.entries
        if exists and not overwrite:
            raise EditError(f"You already have a preset {quoted(preset.key)}: choose another name, or allow it to be overwritten.")
        if not exists and len(own.entries) >= MAX_OWN:
            raise EditError(f"You have {len(own.entries)} presets of your own, and {MAX_OWN} are allowed: delete one from {path} first.")
        settings = preset.as_dict()
        entry = {name: settings[name] for name in IN_FILE}
        if exists:
            old = own.key_in_file.get(preset.key, preset.key)
            rewrite(path, {preset.key if key == old else key: entry if key == old else other for key, other in own.entries.items()})
        elif own.open_ended:
            append(path, own, preset, entry)
        else:
            rewrite(path, {**own.entries, preset.key: entry})
    return preset


def delete_own(user_folder: Path, key: str) -> Preset:
    """Deletes a preset of the person's own and returns it. Raises EditError when there is none of this key, or the file cannot be
    read or written."""
    path = Path(user_folder) / FILE_NAME
    with _saving:
        own = read(path)
        if key not in own.presets:
            raise EditError(f"You have no preset {quoted(key)} of your own: only your own can be deleted.")
        rewrite(path, {other: entry for other, entry in own.entries.items() if other != own.key_in_file[key]})
    return own.presets[key]


def rename_own(user_folder: Path, key: str, name: str) -> Preset:
    """Gives a preset of the person's own another name, and the key that goes with it, at its place in the file; returns it as saved.

    Raises EditError as `save_own` does, and when there is none of this key.
    """
    path = Path(user_folder) / FILE_NAME
    with _saving:
        own = read(path)
        if key not in own.presets:
            raise EditError(f"You have no preset {quoted(key)} of your own: only your own can be renamed.")
        renamed = replace(own.presets[key], name=name, key="")
        if renamed.key in shipped():
            renamed = beside_shipped(renamed, set(shipped()))
        if renamed.key != key and (renamed.key in own.presets or renamed.key in own.entries):
            raise EditError(f"You already have a preset {quoted(renamed.key)}: choose another name.")
        settings, old = renamed.as_dict(), own.key_in_file[key]
        entry = {name: settings[name] for name in IN_FILE}
        rewrite(path, {renamed.key if other == old else other: entry if other == old else kept for other, kept in own.entries.items()})
    return renamed


def append(path: Path, own: OwnFile, preset: Preset, entry: dict[str, Any]) -> None:
    """Writes an entry below the last one, which takes as long whatever is above it. Raises EditError as `write` does."""
    addition = dumped({preset.key: entry})
    check_read_back(path, addition, {preset.key: entry})
    text = own.text or HEADER
    text += addition if text.endswith("\n") else f"\n{addition}"
    write(path, text)
    remember(
        path,
        replace(
            own,
            text=text,
            entries={**own.entries, preset.key: entry},
            presets={**own.presets, preset.key: preset},
            key_in_file={**own.key_in_file, preset.key: preset.key},
        ),
    )


def rewrite(path: Path, entries: dict[Any, Any]) -> None:
    text = HEADER + dumped(entries)
    check_read_back(path, text, entries)
    write(path, text)


def check_read_back(path: Path, text: str, entries: dict[Any, Any]) -> None:
    if repr(parse(text, path)[0]) != repr(entries):  # repr, because what a person wrote by hand may hold a NaN
        raise EditError(f"The preset was not saved: {path} would not be read back as it was written.")


def read(path: Path) -> OwnFile:
    """Without a file an empty one. Raises EditError when it is too large, no text, or not YAML with an entry for every key."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise EditError(f"{path} is larger than {MAX_FILE // 1000} kB, too large for presets.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as e:
        raise EditError(f"{path} could not be read: {why(e)}.") from e
    known = _known.get(path)
    if known is None or known.text != text:
        known = parsed(path, text)
        remember(path, known)
    return known


def remember(path: Path, own: OwnFile) -> None:
    _known.pop(path, None)
    _known[path] = own
    while len(_known) > MAX_KNOWN:
        _known.pop(next(iter(_known)), None)


def parsed(path: Path, text: str) -> OwnFile:
    entries, open_ended = parse(text, path)
    presets: dict[str, Preset] = {}
    key_in_file, faults = {}, []
    if len(entries) > MAX_OWN:
        faults.append(f"{path} has {len(entries)} presets and {MAX_OWN} are allowed: those after the first {MAX_OWN} are left out.")
    taken = {*shipped(), *entries}
    for key, entry in list(entries.items())[:MAX_OWN]:
        try:
            preset = from_entry(path, key, entry, own=True)
        except EditError as e:
            faults.append(str(e))
            continue
        if key in shipped():  # of a version that let it take the shipped one's place
            preset = beside_shipped(preset, taken)
            taken.add(preset.key)
        presets[preset.key], key_in_file[preset.key] = preset, key
    return OwnFile(text, entries, presets, key_in_file, tuple(faults), open_ended)


def beside_shipped(preset: Preset, taken: set[Any]) -> Preset:
    """Under a key that is not taken, and with a name that says whose it is."""
    number, ending = 1, "-own"
    while (key := preset.key[: MAX_NAME - len(ending)].rstrip("-") + ending) in taken:
        number += 1
        ending = f"-own-{number}"
    said = " (own)" if number == 1 else f" (own {number})"
    return replace(preset, key=key, name=preset.name[: MAX_NAME - len(said)] + said)


def write(path: Path, text: str) -> None:
    """Writes a file of at most MAX_FILE bytes, whole and on the disk before it takes its place. Raises EditError when that fails."""
    data = text.encode()
    if len(data) > MAX_FILE:
        raise EditError(f"{path} would become larger than {MAX_FILE // 1000} kB, too large for presets: delete some first.")
    with written_whole(path, force=True) as beside:
        beside.write_bytes(data)
