"""Students of the three passes in the host (`checkpoints/student.py`): which checkpoint is one, and what is refused of a job."""

from __future__ import annotations

from ..checkpoints.student import FAST, IMAGE_INTERVAL, NEGATIVE, check_student_can, refuse, student_in
from ..edit import Edit
from ..guidance import Guidance
from ..scale_input import ScaleInput


def student_of(sd_model) -> ScaleInput | None:
    """How the loaded model is told its scales; None for one that is no student. Raises EditError for a damaged student."""
    file = getattr(getattr(sd_model, "sd_checkpoint_info", None), "filename", None)
    return student_in(file) if file else None


def name_of(sd_model) -> str:
    return sd_model.sd_checkpoint_info.name_for_extra


def check_student(p, edit: Edit | None = None, guidance: Guidance | None = None) -> None:
    """Raises EditError where a student is asked for what needs three passes. p: the host's processing object, whose styles are in its prompts."""
    if student_of(p.sd_model) is None:
        return
    name = name_of(p.sd_model)
    if edit is not None:
        check_student_can(edit, name)
    if any(text.strip() for text in p.all_negative_prompts):
        raise refuse(NEGATIVE, name)
    if guidance is not None and not guidance.image_interval.whole:
        raise refuse(IMAGE_INTERVAL, name)
    if guidance is not None and not guidance.cadence.exact:
        raise refuse(FAST, name)
