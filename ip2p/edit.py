"""The settings of one edit: what the tab, the API and the command line build, checked once, here."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property

from PIL import Image

from .errors import EditError
from .guidance import FAST, Cadence, Guidance, Interval
from .images import MAX_SIDE, MIN_SIDE, Box, Frame, frame_of
from .region import Region
from .where import MASK, Where

TEXT_SCALE, IMAGE_SCALE = 7.5, 1.5
OFFICIAL_RANGES = (6.0, 9.0), (1.2, 1.8)  # of text and image scale, in which the official page of InstructPix2Pix draws them
ScaleRanges = tuple[tuple[float, float], tuple[float, float]]
MAX_SCALE = 100.0
SLIDER_TEXT, SLIDER_IMAGE = 20.0, 5.0  # how far the scales' fields go
MAX_STEPS, MAX_COUNT, MAX_BATCH = 200, 64, 16
MAX_CELLS = 49
AROUND = {"text_scale": (0.5, 1, 1.6), "image_scale": (0.75, 1, 1.4)}  # a smaller step is hard to see beside the next one
MAX_TEXT = 10_000  # characters of an instruction; the network reads about 300
SPEEDS = {"exact": Cadence(), "fast": FAST}
WORKING, OWN_SIZE, FULL = RESULTS = "working", "own-size", "full"
MAX_SEED = 2**53  # what a number in JSON and in a browser holds exactly


@dataclass(frozen=True)
class Variant:
    """One cell of a contact sheet: what differs from cell to cell."""

    text_scale: float
    image_scale: float
    seed: int


@dataclass(frozen=True)
class Edit:
    """One edit. Raises EditError when a setting is out of range.

    image, mask: pictures of the same size; white in the mask is edited.
    region: where else than on the mask it may act, or how the mask's outline is to be. parts: the regions that `located` found of it, from
        left to right; part: the place of the one that this edit is of, where each is edited by itself.
    width, height: working size in pixels; None fits the picture within `longest_side`, in multiples of 64.
    text_start … image_end: when each guidance acts, in share of the noise levels (`guidance.Interval`).
    speed: "exact", every pass in every call of the network, or "fast", what the passes differ by held between (`guidance.Cadence`).
    denoising_strength: 1 starts from pure noise, as in the paper; below 1 from the picture with noise.
    result: what is given back: "working", at the size it is edited at (the default); "own-size", enlarged to the picture's own size; or
        "full", at that size with the picture's own detail (`detail.py`), of which `detail` tells how much, from 0 to 1.
    crop: cut the picture around its middle to the working size's aspect, as the paper does, and not shown whole with its reflection
        round it; by default only for the result "working". own_size: the former name of the result "own-size".
    scale_ranges: of the text and the image scale, from which `randomise_scales` draws both, by each result's seed.
    variants: a contact sheet of these cells in place of `count` results.
    variations: instructions in place of `instruction`, a result of each, all from one seed.
    """

    image: Image.Image
    instruction: str
    negative_prompt: str = ""
    text_scale: float = TEXT_SCALE
    image_scale: float = IMAGE_SCALE
    text_start: float = 0.0
    text_end: float = 1.0
    image_start: float = 0.0
    image_end: float = 1.0
    randomise_scales: bool = False
    scale_ranges: ScaleRanges = OFFICIAL_RANGES
    steps: int = 20
    speed: str = "exact"
    sampler_name: str = "Euler a"
    scheduler: str = "Automatic"
    seed: int = -1
    count: int = 1
    batch_size: int = 1
    width: int | None = None
    height: int | None = None
    longest_side: int = 512
    result: str | None = None
    detail: float = 1.0
    crop: bool | None = None
    own_size: InitVar[bool | None] = None
    denoising_strength: float = 1.0
    mask: Image.Image | None = None
    region: Where | None = None
    parts: tuple[Region, ...] = ()
    part: int = 0
    heat_map: bool = False
    styles: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    variations: tuple[str, ...] = ()

    def __post_init__(self, own_size: bool | None):
        if self.image is None:
            raise EditError("There is no picture to edit: choose one first.")
        check_text("instruction", self.instruction)
        check_text("negative prompt", self.negative_prompt)
        for instruction in self.variations:
            check_text("instruction", instruction)
        if len(self.variations) > MAX_COUNT:
            raise EditError(f"There are {len(self.variations)} variations; {MAX_COUNT} are allowed at once.")
        if self.variations and (self.variants or self.count * self.batch_size > 1):
            raise EditError("Variations are a result each, from one seed: ask for one result, and for no contact sheet.")
        if not (self.instruction.strip() or self.variations) and not self.styles:
            raise EditError("The instruction is empty: say what to change, for example “make it winter”.")
        for name, scale in (("text scale", self.text_scale), ("image scale", self.image_scale)):
            check_number(name, scale, 0, MAX_SCALE)
        check_whole("steps", self.steps, 1, MAX_STEPS)
        check_whole("count", self.count, 1, MAX_COUNT)
        check_whole("batch size", self.batch_size, 1, MAX_BATCH)
        check_whole("seed", self.seed, -1, MAX_SEED)
        check_number("denoising strength", self.denoising_strength, 0, 1)
        check_number("detail", self.detail, 0, 1)
        object.__setattr__(self, "result", OWN_SIZE if own_size and self.result == WORKING else self._result_asked(own_size))
        check_speed(self.speed)
        for name in ("width", "height", "longest_side"):
            if getattr(self, name) is not None:
                check_whole(name.replace("_", " "), getattr(self, name), MIN_SIDE, MAX_SIDE)
        try:
            self.guidance()
        except ValueError as e:
            raise EditError(f"The guidance schedule is wrong: {e}.") from e
        if self.mask is not None:
            check_mask_size(self.mask.size, self.image.size)
        if self.region is not None and self.region.source == MASK and self.mask is None:
            raise EditError("The region is to be the mask, and there is none: paint over what may change, or give a mask.")
        _ = self.frame  # refuses a picture that is too long

    def _result_asked(self, own_size: bool | None) -> str:
        if self.result is None and own_size is None and self.alone:
            return FULL  # the part without the rest is asked for by its name
        return result_asked(self.result, own_size)

    @property
    def alone(self) -> bool:
        """Whether its regions are edited by themselves."""
        return self.region is not None and self.region.only

    @cached_property
    def box(self) -> Box | None:
        """The part of the picture that is edited by itself, None where that is all of it."""
        if not self.parts or self.region is None or not self.alone:
            return None
        aspect = self.width / self.height if self.width and self.height else None
        return self.parts[self.part].part(self.region.margin, self.longest_side, aspect)

    @cached_property
    def seen(self) -> Image.Image:
        """What of the picture is edited: all of it, or a part."""
        return self.image.crop(self.box) if self.box else self.image

    @cached_property
    def seen_mask(self) -> Image.Image | None:
        """The mask of what is seen, in mode L; None where all of it is edited."""
        if self.box:
            return self.parts[self.part].picture(self.box)
        return self.mask and self.mask.convert("L")

    @property
    def frame(self) -> Frame:
        """The size the edit is made at, and how what is seen of the picture lies in it."""
        return frame_of(self.seen, self.width, self.height, self.longest_side, self.cropped)

    @property
    def cropped(self) -> bool:
        """Whether the picture is cut to the working size's aspect."""
        if self.alone:
            return False
        return self.result == WORKING if self.crop is None else self.crop

    def guidance(self, seed: int | None = None, index: int | None = None) -> Guidance:
        """Both scales and when they act, of the result with this seed and place in the job: those of its variant, or, with
        `randomise_scales`, drawn from the seed."""
        text, image = self.text_scale, self.image_scale
        if self.variants and index is not None:
            text, image = self.variants[index].text_scale, self.variants[index].image_scale
        elif self.randomise_scales and seed is not None:
            text, image = random_scales(seed, self.scale_ranges)
        intervals = Interval(self.text_start, self.text_end), Interval(self.image_start, self.image_end)
        return Guidance(text, image, *intervals, cadence=SPEEDS[self.speed])

    @property
    def scoped(self) -> bool:
        """Whether its guidance is scaled down outside the region."""
        return self.region is not None and self.region.scoped

    @property
    def varies(self) -> bool:
        """Whether the scales differ from result to result."""
        return bool(self.variants) or self.randomise_scales


def result_asked(result: str | None, own_size: bool | None) -> str:
    """What is given back, asked for by its name or by the former name of one. Raises EditError where the two are at odds, and for no name."""
    if result is None:
        return OWN_SIZE if own_size else WORKING
    if result not in RESULTS:
        raise EditError(f"There is no result “{result[:80]}”. Known ones: {', '.join(RESULTS)}.")
    if own_size is not None and own_size != (result == OWN_SIZE):
        raise EditError(f"“own_size” is the former name of the result “{OWN_SIZE}”, and “{result}” is asked for: leave one of them out.")
    return result


def check_speed(speed: object) -> None:
    """Raises EditError for what is none."""
    if not isinstance(speed, str) or speed not in SPEEDS:
        raise EditError(f"There is no speed “{str(speed)[:80]}”. Known ones: {', '.join(SPEEDS)}.")


def sheet_over_scales(text_scales: Sequence[float], image_scales: Sequence[float], seed: int) -> tuple[Variant, ...]:
    """A grid over both scales, row by row: text scale down, image scale across. Raises EditError when it is empty or too large."""
    return check_sheet(tuple(Variant(t, i, seed) for t in text_scales for i in image_scales))


def sheet_over_seeds(text_scale: float, image_scale: float, seed: int, count: int) -> tuple[Variant, ...]:
    """Seeds one after another at the same scales. Raises EditError when it is empty or too large."""
    return check_sheet(tuple(Variant(text_scale, image_scale, seed + i) for i in range(min(count, MAX_CELLS + 1))))


def check_sheet(cells: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if not 1 <= len(cells) <= MAX_CELLS:
        raise EditError(f"A contact sheet has 1 to {MAX_CELLS} cells, not {len(cells)}.")
    for cell in cells:
        check_number("text scale", cell.text_scale, 0, MAX_SCALE)
        check_number("image scale", cell.image_scale, 0, MAX_SCALE)
    return cells


def read_scales(text: str, name: str) -> list[float]:
    """“5, 7.5, 10” → [5.0, 7.5, 10.0]. Raises EditError for anything else."""
    try:
        return [float(part) for part in text.replace(";", ",").split(",") if part.strip()]
    except ValueError as e:
        raise EditError(f"The {name} of a contact sheet are numbers with commas between them, for example 5, 7.5, 10.") from e


def scales_around(which: str, scale: float) -> list[float]:
    """The scales of a contact sheet where none are given: this one in the middle of one that shows less of it and one that shows more.

    which: "text_scale" or "image_scale".
    """
    return [round(scale * share, 2) for share in AROUND[which]]


def move_scales(text: float, image: float, direction: int) -> tuple[float, float]:
    """A step towards more edit (+1) or less (−1): the two scales act against each other, so they move in opposite ways."""
    text, image = text + direction, image - 0.1 * direction
    return round(min(max(text, 1.0), SLIDER_TEXT), 2), round(min(max(image, 1.0), SLIDER_IMAGE), 2)


def check_mask_size(mask: tuple[int, int], picture: tuple[int, int]) -> None:
    """mask, picture: their (width, height). Raises EditError where they differ."""
    if mask != picture:
        sizes = "{}x{} but the picture is {}x{}".format(*mask, *picture)
        raise EditError(f"The mask is {sizes}: make them the same size.")


def check_text(name: str, text: str) -> None:
    """Raises EditError for a text that is too long, or that no file can hold: JSON may bring half of a pair of surrogates."""
    if len(text) > MAX_TEXT:
        raise EditError(f"The {name} is {len(text)} characters long; {MAX_TEXT} are allowed.")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise EditError(f"The {name} has a broken character at place {e.start + 1}: write it again.") from e


def check_number(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise EditError(f"The {name} must be between {low} and {high}, not {value}.")


def check_whole(name: str, value: float, low: int, high: int) -> None:
    check_number(name, value, low, high)
    if value != int(value):
        raise EditError(f"The {name} must be a whole number, not {value}.")


def random_scales(seed: int, ranges: ScaleRanges = OFFICIAL_RANGES) -> tuple[float, float]:
    """(text scale, image scale) drawn from these ranges; one pair a seed."""
    draw = random.Random(int(seed))
    text, image = (round(draw.uniform(*ends), 2) for ends in ranges)
    return text, image
