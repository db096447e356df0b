"""Students of the three passes in the host: which checkpoint is one, what is refused of a job, and what the tab greys (`checkpoints/student.py`)."""

from __future__ import annotations

import html

import gradio as gr

from ..checkpoints.student import ABLE, IMAGE_INTERVAL, NEGATIVE, check_student_can, refuse, student_in
from ..edit import Edit
from ..scale_input import ScaleInput
from ..where import INSTRUCTION, MASK
from .region_controls import SOURCE_LABELS

# Controls of the tab that need three passes, with the value that asks for nothing.
GREYED = {"heat_map": False, "image_start": 0, "image_end": 1, "region_scoped": False}


def student_of(sd_model) -> ScaleInput | None:
    """How the loaded model is told its scales; None for one that is no student. Raises EditError for a damaged student."""
    file = getattr(getattr(sd_model, "sd_checkpoint_info", None), "filename", None)
    return student_in(file) if file else None


def name_of(sd_model) -> str:
    return sd_model.sd_checkpoint_info.name_for_extra


def check_student(p, edit: Edit | None = None, image_interval: tuple[float, float] = (0, 1)) -> None:
    """Raises EditError where a student is asked for what needs three passes. p: the host's processing object, whose styles are in its prompts."""
    if student_of(p.sd_model) is None:
        return
    name = name_of(p.sd_model)
    if edit is not None:
        check_student_can(edit, name)
    if any(text.strip() for text in p.all_negative_prompts):
        raise refuse(NEGATIVE, name)
    if image_interval != (0, 1):
        raise refuse(IMAGE_INTERVAL, name)


def text(name: str) -> tuple[str, str]:
    """What the line at the top of the tab says of a student, and more about it."""
    return (
        f"“{html.escape(name)}” makes an edit in one pass a step, in place of three.",
        "What needs three is greyed: the negative prompt, “Show where it changed”, the image guidance's schedule, “Guidance only within that part” "
        f"and “{SOURCE_LABELS[INSTRUCTION]}”. {ABLE[0].upper()}{ABLE[1:]}.",
    )


def greyed(passes: int, part: str) -> list:
    """Of the negative prompt, of `GREYED` and of the choice of a part, which is `part` now: whether they can be used with a model of so many passes."""
    if passes > 1:
        return [gr.update(interactive=True)] * (len(GREYED) + 1) + [gr.update(choices=[*SOURCE_LABELS.values()])]
    parts = [label for source, label in SOURCE_LABELS.items() if source != INSTRUCTION]
    values = [gr.update(interactive=False, value=value) for value in ("", *GREYED.values())]
    return [*values, gr.update(choices=parts, value=part if part in parts else SOURCE_LABELS[MASK])]
