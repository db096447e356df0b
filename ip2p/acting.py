"""Where an instruction acts on a picture: as levels to be shown, and as the region that the edit keeps to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import torch
from PIL import Image

from .chain import lines_of
from .edit import Edit
from .pixels import to_tensor
from .region import FROM_INSTRUCTION, Region
from .relevance import SURE, along_outlines, centred, question_for, region_levels, resized

LONGEST = 1024  # pixels of the levels' longest side: finer outlines are not to be had from the network's map
# Of a picture as the network is given it and an instruction: the map of `relevance.relevance`.
Ask = Callable[[Image.Image, str], torch.Tensor]


def acting_levels(edit: Edit, ask: Ask) -> torch.Tensor:
    """(h, w) in [0, 1] over what is edited of the picture, at most LONGEST pixels a side: how far the instruction acts there, from .5 on
    by the threshold that suits the map. 0 everywhere where it acts nowhere."""
    question, is_left_alone = question_for(edit.instruction)
    frame = edit.frame
    levels = ask(frame.place(edit.seen), question).cpu()
    picture = frame.shown(edit.seen).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    if not levels.any():
        return torch.zeros(picture.height, picture.width)
    left, top, right, bottom = frame.inside
    shown = resized(levels[None], frame.size[::-1])[0, top:bottom, left:right]
    levels = along_outlines(shown, (to_tensor(picture) + 1) / 2)
    return 1 - centred(levels, SURE) if is_left_alone else centred(levels)


def acting_region(edit: Edit, ask: Ask) -> list[Region]:
    """What any line of the instruction acts on, of the whole picture. Where a threshold is asked for it is not applied yet."""
    edit = replace(edit, crop=False, region=edit.region and replace(edit.region, only=False))
    soft = edit.region is None or edit.region.threshold is None
    found = []
    for line in lines_of(edit):
        levels = acting_levels(line, ask)
        mask = (region_levels(levels) if soft else levels).numpy()
        found.append(Region.of(mask, FROM_INSTRUCTION).at(edit.image.size))
    return [reduce(Region.plus, found)]
