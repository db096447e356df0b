"""Ready instructions: templates with choices, scales and steps that suit them. The shipped ones, and a person's own beside them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from ..errors import EditError
from .choosing import CARDS, MOST_WORDS, NO_WORD, chosen, filled, groups_of, names_of, variations_of, words_with_choices
from .known import groups_known
from .own import FILE_NAME, MAX_FILE, MAX_OWN, delete_own, folder_of, read, rename_own, save_own
from .preset import GROUPS, MAX_CHOICE, MAX_FIELDS, MAX_INSTRUCTION, MAX_NAME, OWN_GROUP, REGIONS, Preset, quoted, slug
from .shipped import SHIPPED, shipped

__all__ = [
    "CARDS", "FILE_NAME", "GROUPS", "MAX_CHOICE", "MAX_FIELDS", "MAX_FILE", "MAX_INSTRUCTION", "MAX_NAME", "MAX_OWN", "MOST_WORDS", "NO_WORD", "OWN_GROUP",
    "REGIONS", "SHIPPED", "Preset", "chosen", "delete_own", "filled", "folder_of", "groups_known", "groups_of", "load", "names_of", "preset_named", "quoted",
    "rename_own", "save_own", "shipped", "slug", "variations_of",
    "words_with_choices",
]  # fmt: skip


def load(user_folder: Path | None = None, problems: list[str] | None = None) -> dict[str, Preset]:
    """Presets by key: the shipped ones, then the person's own from `user_folder`, none of which has a shipped one's key.

    What is wrong with the person's file is appended to `problems`, a sentence each, and left out; it never raises.
    """
    problems = [] if problems is None else problems
    if user_folder is None:
        return dict(shipped())
    try:
        own = read(Path(user_folder) / FILE_NAME)
    except EditError as e:
        problems.append(str(e))
        return dict(shipped())
    problems.extend(own.faults)
    return {**shipped(), **own.presets}


def preset_named(key: str, presets: Mapping[str, Preset], listed: str = "") -> Preset:
    """The preset of this key. listed: where a person finds all keys, for the refusal. Raises EditError with near keys when there is none."""
    if key not in presets:
        near = get_close_matches(key, presets, n=5, cutoff=0.3) or list(presets)[:5]
        raise EditError(f"There is no preset {quoted(key)}. Near ones: {', '.join(near)}{listed and '; '}{listed}.")
    return presets[key]
