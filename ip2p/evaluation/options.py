"""What a run of evaluation is asked for, and what it takes where nothing is asked. Quick to import: the command line reads it for its help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoints.defaults import defaults_for

TEXT_SCALES, IMAGE_SCALES = (7.5,), (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2)  # InstructPix2Pix's own
STRENGTHS = (0.3, 0.5, 0.7, 0.9)
SIZE, PROCEDURAL_SIZE = 512, 256  # longest sides in pixels
MODE_FIELDS: dict[str, tuple[str, type]] = {  # what a mode may say: the field of `Edit`, and of which type
    "sampler": ("sampler_name", str),
    "scheduler": ("scheduler", str),
    "steps": ("steps", int),
    "text-scale": ("text_scale", float),
    "image-scale": ("image_scale", float),
    "text-start": ("text_start", float),
    "text-end": ("text_end", float),
    "image-start": ("image_start", float),
    "image-end": ("image_end", float),
    "speed": ("speed", str),
}


@dataclass(frozen=True)
class SamplingConfig:
    """How every edit of a run is made. batch: results in one pass of the network."""

    steps: int = 20
    sampler: str = "Euler a"
    batch: int = 16


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of one run; those of None follow from the pair set.

    models: folders, files or names; data: a pair set, `split` of it; output: the report's folder; count: the first pairs, or
    photographs of procedural edits, all for None; size: `longest_side`, or `width` and `height`; phrasings and scorer: as
    `instructions.Instructions` and `scorers.by_name.scorer_named` take them; sweep_photos: photographs the scales are swept over;
    sdedit: a text-to-image model; compare: folders of finished runs; pictures: pairs or photographs whose results are shown;
    teacher: of which the models are students, to measure that in place of edits; modes: ways of sampling that are compared in place of all
    that, as `modes.settings_in` reads them, on `per_photo` kinds of each photograph;
    device and precision: the model's own for None; force: begin again in a folder that holds another run.
    """

    models: Sequence[str]
    data: str
    output: Path
    split: str | None = None
    count: int | None = None
    text_scales: Sequence[float] | None = None
    image_scales: Sequence[float] | None = None
    size: dict[str, int] | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    scorer: str = "auto"
    phrasings: str = "train"
    sweep_photos: int = 4
    sdedit: str | None = None
    strengths: Sequence[float] = STRENGTHS
    compare: Sequence[Path] = ()
    pictures: int = 8
    teacher: str | None = None
    modes: Sequence[str] = ()
    per_photo: int | None = None
    device: str | None = None
    precision: str | None = None
    force: bool = False


STRUCTURE = (  # kinds of edits that keep the photograph's structure, of the thirty that the small checkpoint knows
    "black_and_white", "sepia", "vintage", "warmer", "colder", "brighter", "darker", "inverted", "night", "sunset", "winter", "autumn",
    "fog", "rain", "cloudy", "pencil", "subject_colour", "subject_stone", "subject_marble", "subject_wood", "subject_metal",
    "background_grey", "background_blur", "background_night", "background_colour",
)  # fmt: skip
PAINTED = ("watercolour", "oil", "mosaic", "posterise", "neon")  # the other five
TRUE, MODEL = EDITS = "true", "model"


@dataclass(frozen=True, kw_only=True)
class PhotographOptions:
    """models: folders, files or names; photographs: a folder; output: the report's; count: the first photographs, all for None;
    per_photo: how many kinds of procedural edits each photograph gets, all for None; size: longest side in pixels of the model's own edit,
    the model's own for None; longest_side: to which photographs are shrunk, in pixels."""

    models: Sequence[str]
    photographs: Path
    output: Path
    count: int | None = None
    per_photo: int | None = None
    size: int | None = None
    longest_side: int = 2400
    steps: int = 20
    sampler: str = "Euler a"
    seed: int = 0
    device: str | None = None
    precision: str | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class FullSizeOptions(PhotographOptions):
    """kinds: of procedural edits; true_size: longest side of the true edit made small; text_scale, image_scale: of the model's own edit, the
    model's own for None; edits: which of the two are measured."""

    kinds: Sequence[str] = STRUCTURE + PAINTED
    true_size: int = 512
    text_scale: float | None = None
    image_scale: float | None = None
    edits: Sequence[str] = EDITS


LOCAL = tuple(name for name in STRUCTURE if name.startswith(("subject", "background")))
WITHIN, SCOPED, ONLY = "region", "scoped", "only"


@dataclass(frozen=True, kw_only=True)
class RegionOptions(PhotographOptions):
    """kinds: of procedural edits, those of a region; edits: which are made beside that of the whole picture, none for the map alone, whose
    photographs are shrunk to `size`; or ONLY for subjects edited by themselves, whose photographs are shrunk to `longest_side`."""

    kinds: Sequence[str] = LOCAL
    edits: Sequence[str] = (WITHIN, SCOPED)


def procedural_scales(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(text scales, image scales) for procedural edits: what suits the model first, then a sweep around it."""
    suited = defaults_for(model)
    text_scales = tuple(float(f"{suited.text_scale * share:g}") for share in (1, 0.4, 0.8, 1.2))
    return text_scales, (float(f"{suited.image_scale:g}"), 1.0, 1.2, 1.8, 2.2)


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """scenes: “plain” or “varied”; count: of scenes that are measured; sweep: of others, on which the scales are chosen; text_scales,
    image_scales: to choose from; compare: folders of finished runs on the same scenes; the rest as of `EvaluationOptions`."""

    models: Sequence[str]
    output: Path
    scenes: str
    count: int = 96
    sweep: int = 48
    text_scales: Sequence[float] = (3.0, 5.0, 7.5)
    image_scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0, 2.5)
    steps: int = 20
    sampler: str = "Euler a"
    batch: int = 32
    seed: int = 1
    compare: Sequence[Path] = ()
    device: str | None = None
    precision: str | None = None
    force: bool = False
