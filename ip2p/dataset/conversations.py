"""Pairs told as a conversation, as GPT-Image-Edit's and UniWorld's JSON has them: a list of pictures, and who said what to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SAID, PICTURES = "conversations", "image"
PLACE = "<image>"  # of a picture in what is said


def as_pair(values: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the names of a pair: the first of two pictures is the one before, the last thing that a person said the instruction.
    One that is no conversation about two pictures stays as it is."""
    said, pictures = values.get(SAID), values.get(PICTURES)
    if not isinstance(said, list) or not isinstance(pictures, list) or len(pictures) != 2:
        return dict(values)
    turns = [turn for turn in said if isinstance(turn, Mapping) and turn.get("from") == "human" and isinstance(turn.get("value"), str)]
    instruction = " ".join(turns[-1]["value"].replace(PLACE, " ").split()) if turns else ""
    rest = {name: value for name, value in values.items() if name not in (SAID, PICTURES)}
    return {"original_image": pictures[0], "edited_image": pictures[1], "edit_prompt": instruction} | rest
