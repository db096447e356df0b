"""What the API takes and gives: its requests, with their limits, and its answers."""

from __future__ import annotations

from pydantic import BaseModel, Field, root_validator, validator

from ..edit import (
    FULL,
    IMAGE_SCALE,
    MAX_BATCH,
    MAX_COUNT,
    MAX_SCALE,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
    MIN_SIDE,
    OWN_SIZE,
    TEXT_SCALE,
    WORKING,
    Edit,
)
from ..presets import MAX_FIELDS, quoted
from ..where import INSTRUCTION, MARGIN, MASK, MAX_MARGIN, MAX_NUMBER, MAX_PIXELS, NAME, NAMES, Where

MAX_NAME = 200  # characters of a preset's key, a sampler, a schedule type, a style
MAX_STYLES = 100
LEFT_OUT = "left out, what the loaded model names"


class Strict(BaseModel):
    """A request that takes no field which it does not know."""

    class Config:
        extra = "forbid"  # a misspelt field would be left out in silence

    @root_validator(pre=True)
    def known(cls, fields):  # noqa: N805
        names = [field.alias for field in cls.__fields__.values()]
        unknown = next((name for name in fields if name not in names), None)
        if unknown is not None:  # one of them: pydantic would list all
            raise ValueError(f"There is no field {quoted(unknown)}. Known ones: {', '.join(names)}.")
        return fields


def whole(value):
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("not a whole number")  # pydantic would cut the fraction off
    return value


def fits_a_float(value):
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) > 10**300):
        raise ValueError("not a number that can be used")  # pydantic fails on a longer one
    return value


class RegionRequest(Strict):
    source: str = Field(
        MASK,
        alias="from",
        max_length=MAX_NAME,
        description=f"“{MASK}”: the request's mask; “{INSTRUCTION}”: where the instruction acts; “{NAME}”: what has a name.",
    )
    name: str = Field("", max_length=MAX_NAME, description=f"With “{NAME}”: {', '.join(NAMES)}; status tells which can be found here.")
    number: int = Field(0, ge=0, le=MAX_NUMBER, description="Which one of several, counted from left to right; 0 for all.")
    threshold: float | None = Field(None, ge=0, le=1, description="From which level on something belongs to it; left out, what suits it.")
    feather: float | None = Field(
        None,
        ge=0,
        le=MAX_PIXELS,
        description="Over how many pixels of the picture the edit fades in, inside it; left out, what suits its size.",
    )
    grow: float = Field(0.0, ge=-MAX_PIXELS, le=MAX_PIXELS, description="By how many pixels it reaches farther, or with a minus less far.")
    invert: bool = Field(False, description="Everything but the region.")
    only: bool = Field(
        False, description="Cut it out with its surroundings, edit that at the model's own size and put it back, one region after another."
    )
    margin: float = Field(
        MARGIN, ge=0, le=MAX_MARGIN, description="With only: its surroundings on each side, as a share of its longer side."
    )
    scoped: bool = Field(
        False,
        description="Scale the guidance down outside it, in place of holding the picture there to the photograph in every step.",
    )
    keep_colour: float = Field(
        0.0, ge=0, le=1, description="How much of the photograph's colour, without its detail, stays within the region."
    )

    _whole = validator("number", pre=True, allow_reuse=True)(whole)
    _finite = validator("threshold", "feather", "grow", "margin", "keep_colour", pre=True, allow_reuse=True)(fits_a_float)

    def where(self) -> Where:
        return Where(**self.dict())


class EditRequest(Strict):
    image: str = Field(title="Picture", description="The picture to edit: base64 or a data URL, at most 64 megapixels.")
    instruction: str = Field(
        "",
        title="Instruction",
        description="What to change, e.g. “make it winter”; several, one a line, are a chain: each edits the results of the one before.",
    )
    preset: str | None = Field(
        None,
        max_length=MAX_NAME,
        description="Key of a ready instruction, one of those that presets lists: fills what the request leaves out of instruction, scales, steps, detail.",
    )
    choices: dict[str, str] = Field({}, description="Words to fill into the preset's instruction.")
    variations: str | None = Field(
        None, max_length=MAX_NAME, description="A word of the preset: one result for each of its choices, all from one seed."
    )
    model: str | None = Field(
        None,
        max_length=MAX_NAME,
        description="An edit checkpoint for this request alone, one of those that status lists: it is loaded for it, and the WebUI's own is given back after it.",
    )
    negative_prompt: str = Field("", title="Negative prompt", description="What the result should not be.")
    text_scale: float | None = Field(
        None,
        ge=0,
        le=MAX_SCALE,
        title="Text scale",
        description=f"How strongly the instruction acts; {LEFT_OUT}, {TEXT_SCALE:g} of the published one.",
    )
    image_scale: float | None = Field(
        None,
        ge=0,
        le=MAX_SCALE,
        title="Image scale",
        description=f"How closely the result keeps to the picture; {LEFT_OUT}, {IMAGE_SCALE:g} of the published one.",
    )
    text_start: float = Field(0.0, ge=0, le=1, description="Share of the noise levels from which the text scale acts; it is 1 before.")
    text_end: float = Field(1.0, ge=0, le=1, description="… and up to which; it is 1 after.")
    image_start: float = Field(0.0, ge=0, le=1, description="The same for the image scale.")
    image_end: float = Field(1.0, ge=0, le=1, description="… and up to which; it is 1 after.")
    randomise_scales: bool = Field(
        False, description="Draw both scales by the picture's seed, from a fifth below to a fifth above those of the model."
    )
    steps: int | None = Field(None, ge=1, le=MAX_STEPS, description=f"{LEFT_OUT.capitalize()}, {Edit.steps} of the published one.")
    speed: str = Field(
        Edit.speed,
        max_length=MAX_NAME,
        description="“exact”, or “fast”: three fifths of the network's work, for nearly the same picture; samplers of CFG++ run exact and say so.",
    )
    sampler_name: str | None = Field(
        None,
        max_length=MAX_NAME,
        title="Sampler",
        description=f"One of those that status lists; {LEFT_OUT}, {Edit.sampler_name} of the published one.",
    )
    scheduler: str | None = Field(
        None,
        max_length=MAX_NAME,
        title="Schedule type",
        description=f"One of those that status lists; left out, {Edit.scheduler}, or the model's own with its sampler.",
    )
    seed: int = Field(-1, ge=-1, le=MAX_SEED, description="-1 draws one.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Number of batches, with seeds one after another.")
    batch_size: int = Field(1, ge=1, le=MAX_BATCH, description="Results computed at once; count × batch size are returned.")
    width: int | None = Field(None, ge=MIN_SIDE, le=MAX_SIDE, description="Working size; left out, it is fitted to the picture.")
    height: int | None = Field(None, ge=MIN_SIDE, le=MAX_SIDE, description="The same.")
    longest_side: int | None = Field(
        None,
        ge=MIN_SIDE,
        le=MAX_SIDE,
        description=f"Limit of the fitted working size; {LEFT_OUT}, {Edit.longest_side} of the published one.",
    )
    result: str = Field(
        WORKING,
        max_length=MAX_NAME,
        description=f"What is given back: “{WORKING}”, at the working size (left out, “{FULL}” where only a region is edited); “{OWN_SIZE}”, enlarged to the picture's own size; “{FULL}”, at that size with the picture's own detail.",
    )
    detail: float = Field(
        1.0, ge=0, le=1, description=f"How much of the picture's own detail a “{FULL}” result takes; left out, a preset's own."
    )
    crop: bool | None = Field(
        None,
        description=f"Cut the picture to the working size around its middle, as the paper does, or edit it whole; left out, it is cut for “{WORKING}” only.",
    )
    own_size: bool | None = Field(None, description=f"The former name of the result “{OWN_SIZE}”.")
    denoising_strength: float = Field(1.0, ge=0, le=1, description="1 starts from pure noise, below 1 from the picture.")
    mask: str | None = Field(None, description="White is edited, black is kept pixel by pixel; of the picture's size.")
    region: RegionRequest | None = Field(
        None,
        description="Where else than in the mask it may act, and how the outline is. Left out, the mask as it is, or without one a preset's own, where it can be found here; null is everywhere.",
    )
    heat_map: bool = Field(False, description="Also give heat_maps, pictures of where the instruction acts.")
    styles: list[str] = Field([], description="Names of the WebUI's prompt styles.")

    @validator("styles", "choices", pre=True)
    def few(cls, entries, field):
        most = MAX_STYLES if field.name == "styles" else MAX_FIELDS
        if isinstance(entries, (list, tuple, dict)) and len(entries) > most:
            raise ValueError(f"{len(entries)} entries, and {most} are allowed")
        return entries

    @validator("styles", "choices")
    def short_texts(cls, entries):
        for text in (*entries, *(entries.values() if isinstance(entries, dict) else ())):
            if len(text) > MAX_NAME:
                raise ValueError(f"a text of {len(text)} characters, and {MAX_NAME} are allowed")
        return entries

    _whole = validator("steps", "seed", "count", "batch_size", "width", "height", "longest_side", pre=True, allow_reuse=True)(whole)
    _finite = validator(
        "text_scale", "image_scale", "text_start", "text_end", "image_start", "image_end", "detail", "denoising_strength",
        pre=True, allow_reuse=True,
    )(fits_a_float)  # fmt: skip


class EditResponse(BaseModel):
    images: list[str] = Field(
        title="Results",
        description="PNG in base64, with the generation parameters inside; of a chain those of every line in order. Where one result was asked for and its heat map, that is the second.",
    )
    infotexts: list[str] = Field(description="The generation parameters of each image.")
    seeds: list[int] = Field(description="The seed of each result.")
    heat_maps: list[str] = Field(
        description="Where the instruction acts on what each result was made of, if that was asked for: PNG in base64."
    )
    info: dict = Field(
        description="The WebUI's description of the job, its comments, as interrupted whether a result is half done or missing, and as taken the scales, the steps, the sampler, the schedule type and the size that were left out."
    )


class StatusResponse(BaseModel):
    version: str
    model: str | None = Field(description="Title of the loaded checkpoint; null when none is loaded.")
    is_edit_model: bool
    edit_checkpoints: list[str] = Field(description="Titles of the edit checkpoints found in the model folders.")
    busy: bool
    progress: float = Field(description="Of the running job, 0 to 1.")
    samplers: list[str]
    schedulers: list[str]
    regions: dict[str, str | None] = Field(description="Names of regions: null for what can be found here, else why it can't be.")


class PresetResponse(BaseModel):
    key: str
    name: str
    group: str
    instruction: str = Field(description="With {words} to fill in.")
    choices: dict[str, list[str]]
    defaults: dict[str, str]
    text_scale: float
    image_scale: float
    steps: int
    detail: float = Field(description="How much of the picture's own detail suits a full result.")
    region: str
    own: bool = Field(description="Saved by a person here, not shipped.")
