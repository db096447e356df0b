"""A student of the three passes, an edit checkpoint that makes a guided prediction in one: recognised, told its scales, and what it can't do.

Its file is a plain one, whose usual scales are in the bias of the time embedding's first layer; what it takes to be told others (`scale_input.py`) lies
beside the networks, where loaders leave it alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ..edit import Edit
from ..errors import EditError
from ..scale_input import FEATURES, KEY, ScaleInput
from ..where import INSTRUCTION
from .defaults import defaults_for
from .recognise import UNET
from .tensors import Weights

FIRST = UNET + "time_embed.0"
NO_MATRIX = f"says that it edits in one pass, and lacks {KEY}, by which it is told the scales: take the file that it was made from"
NEGATIVE, IMAGE_INTERVAL = "A negative prompt", "An interval of the image guidance"
SCOPED, FAST = "Guidance only within a region", "The speed “fast”, which leaves out some of them,"
WHERE_IT_ACTS = "To show where the instruction acts"
ABLE = "small, which comes with the package, and the published checkpoint can"


def student_in(file: str | Path) -> ScaleInput | None:
    """How the student in a checkpoint file is told its scales; None for a file that is none. Remembered by path, size and time of change.

    Raises EditError for a student whose matrix is missing or of another shape."""
    try:
        stat = Path(file).stat()
    except OSError:
        return None
    return _student_in(Path(file), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _student_in(file: Path, size: int, changed: int) -> ScaleInput | None:
    suited = defaults_for(str(file))
    if suited.passes > 1:
        return None
    with Weights(file) as weights:
        check_matrix(file, weights)
        return ScaleInput(weights.read(KEY).float(), (suited.text_scale, suited.image_scale))


def check_matrix(file: Path, weights: Weights) -> None:
    """Raises EditError unless the file holds a student's matrix."""
    tensor, bias = weights.tensors.get(KEY), weights.tensors.get(f"{FIRST}.bias")
    if tensor is None:
        raise EditError(f"{file} {NO_MATRIX}.")
    if bias is None or tensor.shape != (bias.shape[0] // 4, FEATURES):
        raise EditError(f"{file} can't be used: its {KEY} is {'x'.join(map(str, tensor.shape))}, which does not fit its network.")


def why_not(edit: Edit) -> str | None:
    """What of an edit needs three passes, for the beginning of a sentence; None where a student can make it."""
    region = edit.region
    for needs, what in (
        (edit.negative_prompt.strip(), NEGATIVE),
        (edit.heat_map, WHERE_IT_ACTS),
        (region is not None and region.source == INSTRUCTION, "A region from the instruction"),
        (edit.scoped, SCOPED),
        ((edit.image_start, edit.image_end) != (0, 1), IMAGE_INTERVAL),
        (edit.speed != Edit.speed, FAST),
    ):
        if needs:
            return what
    return None


def refuse(what: str, name: str) -> EditError:
    return EditError(f"{what} needs three passes, and “{name}” edits in one: leave it out, or choose another checkpoint; {ABLE}.")


def check_student_can(edit: Edit, name: str) -> None:
    """Raises EditError for what needs three passes. name: of the student."""
    if what := why_not(edit):
        raise refuse(what, name)
