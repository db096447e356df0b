"""Saving, renaming and deleting ready instructions of one's own, as the tab and the page offer it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import EditError
from .choosing import chosen, groups_of
from .own import FILE_NAME, delete_own, read, rename_own, save_own
from .preset import OWN_GROUP, Preset
from .shipped import shipped

SAVE, RENAME, DELETE = "Save instruction and scales", "Rename the chosen one", "Delete the chosen one"  # what the buttons say
NAME_FIELD, NAME_PLACEHOLDER = "Name of one's own", "Name of your own preset"


@dataclass(frozen=True)
class Done:
    """What was done, in a sentence; the kind of change, and the name of the instruction of it, that are chosen now."""

    sentence: str
    group: str
    name: str | None


def save(user_folder: Path, name: str, instruction: str, text_scale: float, image_scale: float, steps: float) -> Done:
    """Keeps an instruction as it stands, braces and all but for their shape, with its scales. Raises EditError as `save_own` does."""
    literal = instruction.replace("{", "(").replace("}", ")")
    saved = save_own(user_folder, Preset(name, literal, text_scale=text_scale, image_scale=image_scale, steps=int(steps)))
    return Done(f"Saved as “{saved.name}”: it is under “{OWN_GROUP}”.", OWN_GROUP, saved.name)


def rename(user_folder: Path, group: str, name: str, new_name: str) -> Done:
    """Raises EditError as `rename_own` does, and where the chosen one is not one's own."""
    preset = own_chosen(user_folder, group, name)
    renamed = rename_own(user_folder, preset.key, new_name)
    return Done(f"“{preset.name}” is “{renamed.name}” now.", renamed.group, renamed.name)


def delete(user_folder: Path, group: str, name: str) -> Done:
    """Raises EditError as `delete_own` does, and where the chosen one is not one's own."""
    preset = own_chosen(user_folder, group, name)
    delete_own(user_folder, preset.key)
    left = groups_of({**shipped(), **read(user_folder / FILE_NAME).presets})
    return Done(f"Deleted “{preset.name}”.", group if group in left else OWN_GROUP, None)


def own_chosen(user_folder: Path, group: str, name: str) -> Preset:
    preset = chosen(read(user_folder / FILE_NAME).presets, group, name)
    if preset is None:
        raise EditError(f"Choose one of your own first, for example under “{OWN_GROUP}”: only those can be renamed or deleted.")
    return preset
