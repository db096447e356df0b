"""What the tab greys with a student of the three passes (`checkpoints/student.py`), and what its line at the top says then."""

from __future__ import annotations

import html

import gradio as gr

from ..checkpoints.student import ABLE
from ..edit import Edit
from ..where import INSTRUCTION, MASK
from .region_controls import SOURCE_LABELS

# Controls that need three passes, with the value that asks for nothing.
GREYED = {"heat_map": False, "image_start": 0, "image_end": 1, "region_scoped": False, "speed": Edit.speed}
WHAT = (
    "What needs three passes is greyed: the negative prompt, “Show where it changed”, the image guidance's schedule, “Guidance only within that "
    f"part”, the speed “fast” and “{SOURCE_LABELS[INSTRUCTION]}”. {ABLE[0].upper()}{ABLE[1:]}."
)


def text(name: str) -> tuple[str, str]:
    """What the line at the top of the tab says of a student, and more about it."""
    return (
        f"“{html.escape(name)}” makes an edit in one pass a step, in place of three.",
        WHAT,
    )


def greyed_for(passes: int, part: str) -> list:
    """Of the negative prompt, of `GREYED` and of the choice of a part, which is `part` now: whether they can be used with a model of so many passes."""
    if passes > 1:
        return [gr.update(interactive=True)] * (len(GREYED) + 1) + [gr.update(choices=[*SOURCE_LABELS.values()])]
    parts = [label for source, label in SOURCE_LABELS.items() if source != INSTRUCTION]
    values = [gr.update(interactive=False, value=value) for value in ("", *GREYED.values())]
    return [*values, gr.update(choices=parts, value=part if part in parts else SOURCE_LABELS[MASK])]
