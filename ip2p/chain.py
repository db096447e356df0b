"""A chain of edits: an instruction of several lines, each of which edits what the line before made, part by part where it has parts.

Result k of a line starts from result k of the line before and has its seed, so scales that are drawn from the seed stay the same
too. A mask holds for every line, and no line changes the size.
"""

from __future__ import annotations

import random
from dataclasses import replace

from PIL import Image

from .edit import FULL, MAX_COUNT, WORKING, Edit
from .errors import EditError
from .images import fit


def lines_of(edit: Edit) -> list[Edit]:
    """One edit for every line of the instruction; a line that begins or ends with AND belongs to its neighbour.

    Raises EditError when there are too many, and for a contact sheet of more than one.
    """
    if any("\n" in instruction.strip() for instruction in edit.variations):
        raise EditError("A variation is one instruction, and one of these has several lines.")
    lines: list[str] = []
    for line in filter(None, map(str.strip, edit.instruction.splitlines())):
        if lines and (line.startswith("AND ") or lines[-1].endswith(" AND")):
            lines[-1] += " " + line
        else:
            lines.append(line)
    if len(lines) > MAX_COUNT:
        raise EditError(f"A chain has at most {MAX_COUNT} instructions, one a line, not {len(lines)}.")
    if len(lines) > 1 and edit.variants:
        raise EditError("A contact sheet is of one instruction, and this one has several lines.")
    if edit.alone and len(edit.parts) > 1 and edit.variants:
        raise EditError(f"A contact sheet is of one region, and there are {len(edit.parts)}: choose one by its number.")
    if edit.alone and edit.result == WORKING and (len(lines) > 1 or len(edit.parts) > 1):
        raise EditError(
            f"Only the region, as a result “{WORKING}”, is a picture of one part, and here several edits follow one another: ask for “{FULL}”."
        )
    if edit.variations:
        return [edit]
    return [replace(edit, instruction=line) for line in lines] or [edit]


def varied(edit: Edit) -> list[Edit]:
    """One edit for every variation, all of one seed; of an edit without any itself."""
    seed = random.randrange(2**32) if edit.seed == -1 and edit.variations else edit.seed
    return [replace(edit, instruction=instruction, variations=(), seed=seed) for instruction in edit.variations] or [edit]


def steps_of(line: Edit) -> list[Edit]:
    """One edit for every part of the picture that is edited by itself, one after another; else the line itself."""
    return [replace(line, part=place) for place in range(len(line.parts))] if line.alone else [line]


def next_edit(line: Edit, result: Image.Image, seed: int) -> Edit:
    """What `line` makes of one result of the line before, which had this seed.

    Where results have the working size, a mask is fitted to it as the first picture was, and so is the size to edit at.
    """
    mask = line.mask and fit(line.mask.convert("L"), result.size, whole=not line.cropped)
    edit = replace(line, image=result.convert("RGB"), mask=mask, seed=seed, count=1, batch_size=1)
    if line.result != WORKING or line.box or edit.frame.working_size == result.size:
        return edit
    width, height = line.frame.size
    return replace(edit, width=width, height=height)
