"""All kinds of procedural edits, and which photographs each of them suits. Their phrasings stand in phrasings.yaml.

An edit is a function of the picture (and of its subject's mask) alone: nothing in it is drawn at random, so that a model can learn it.
image: (h, w, 3) float32 in [0, 1]; mask: (h, w) float32 in [0, 1], 1 is the subject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...filters import Array, mix
from . import background, painting, subject, tiles, tone, weather
from .scenery import clean_subject
from .suits import any_photo, colourful, colourful_parts, leafy, not_bright, not_dark, under_sky

COLOURS = {  # (red, green, blue) in [0, 1]
    "red": (0.86, 0.10, 0.10),
    "orange": (0.98, 0.52, 0.08),
    "yellow": (0.97, 0.86, 0.14),
    "green": (0.13, 0.64, 0.22),
    "blue": (0.12, 0.28, 0.86),
    "purple": (0.52, 0.16, 0.74),
    "pink": (0.98, 0.50, 0.72),
}
COLOURS_AND_GREYS = COLOURS | {"white": (0.97, 0.97, 0.97), "black": (0.03, 0.03, 0.03), "grey": (0.5, 0.5, 0.5)}
STRENGTHS = {"slightly": 0.5, "": 1.0, "much": 1.9}
METALS = {  # colours from its shadows to its highlights
    "gold": ((0.16, 0.08, 0.01), (0.62, 0.40, 0.06), (0.96, 0.76, 0.22), (1.0, 0.97, 0.74)),
    "silver": ((0.03, 0.04, 0.06), (0.32, 0.35, 0.40), (0.86, 0.90, 0.94), (1.0, 1.0, 1.0)),
    "bronze": ((0.10, 0.04, 0.02), (0.40, 0.20, 0.09), (0.74, 0.45, 0.24), (1.0, 0.82, 0.60)),
}
ALL, SUBJECT, BACKGROUND = "all", "subject", "background"  # regions


@dataclass(frozen=True)
class Kind:
    """One kind of edit.

    edit: image → image, not yet confined to its region. A local kind also takes the mask, and one with a parameter takes its value last.
    region: what it may touch: "all", "subject" or "background".
    parameter: its parameter's name, "" for none; values: the parameter's words and what they mean, {"": None} for none.
    suits: (image, mask) → whether the edit makes sense there.
    """

    edit: Callable[..., Array]
    region: str = ALL
    parameter: str = ""
    values: Mapping[str, Any] = field(default_factory=lambda: {"": None})
    suits: Callable[[Array, Array], bool] = any_photo

    @property
    def name(self) -> str:
        return self.edit.__name__

    @property
    def local(self) -> bool:
        return self.region != ALL

    def mask(self, subject_mask: Array) -> Array:
        """Where it acts, (h, w)."""
        return {ALL: np.ones_like(subject_mask), SUBJECT: subject_mask, BACKGROUND: 1 - subject_mask}[self.region]

    def __call__(self, image: Array, mask: Array, value: str = "") -> Array:
        """The edited picture; outside its region a local kind leaves every pixel as it is. value: one of `values`' words."""
        masks = (mask,) if self.local else ()
        parameters = (self.values[value],) if self.parameter else ()
        edited = self.edit(image, *masks, *parameters).clip(0, 1).astype(np.float32)
        if self.region == BACKGROUND:
            return mix(clean_subject(image, mask), edited, 1 - mask)
        return mix(image, edited, mask) if self.local else edited


# In this order `dataset photos` goes through them; what it draws by chance depends on it.
TABLE = (
    # tone and colour
    Kind(tone.black_and_white, suits=colourful),
    Kind(tone.sepia),
    Kind(tone.vintage),
    Kind(tone.warmer, ALL, "strength", STRENGTHS),
    Kind(tone.colder, ALL, "strength", STRENGTHS),
    Kind(tone.brighter, ALL, "strength", STRENGTHS, suits=not_bright),
    Kind(tone.darker, ALL, "strength", STRENGTHS, suits=not_dark),
    Kind(tone.vivid, suits=colourful),
    Kind(tone.inverted),
    Kind(tone.tint, ALL, "colour", COLOURS),
    Kind(tone.thermal),
    # weather, season, time of day
    Kind(weather.night, suits=not_dark),
    Kind(weather.sunset, suits=not_dark),
    Kind(weather.winter),
    Kind(weather.autumn, suits=leafy),
    Kind(weather.blossom, suits=leafy),
    Kind(weather.fog),
    Kind(weather.rain),
    Kind(weather.cloudy, suits=under_sky),
    Kind(weather.sunny, suits=under_sky),
    Kind(weather.underwater),
    # drawing, painting, print
    Kind(painting.pencil),
    Kind(painting.watercolour),
    Kind(painting.oil),
    Kind(tiles.mosaic),
    Kind(tiles.pixel_art),
    Kind(tiles.stained_glass),
    Kind(painting.posterise),
    Kind(painting.pop_art),
    Kind(painting.cartoon),
    Kind(painting.neon),
    Kind(painting.blueprint),
    # the subject
    Kind(subject.subject_colour, SUBJECT, "colour", COLOURS),
    Kind(subject.subject_stone, SUBJECT),
    Kind(subject.subject_marble, SUBJECT),
    Kind(subject.subject_wood, SUBJECT),
    Kind(subject.subject_metal, SUBJECT, "metal", METALS),
    Kind(subject.subject_ice, SUBJECT),
    Kind(subject.subject_silhouette, SUBJECT),
    Kind(subject.subject_grey, SUBJECT, suits=colourful_parts),
    # the background
    Kind(background.background_grey, BACKGROUND, suits=colourful_parts),
    Kind(background.background_blur, BACKGROUND),
    Kind(background.background_night, BACKGROUND, suits=not_dark),
    Kind(background.background_colour, BACKGROUND, "colour", COLOURS_AND_GREYS),
    Kind(background.background_sunset, BACKGROUND),
    Kind(background.background_snow, BACKGROUND),
    Kind(background.background_sketch, BACKGROUND),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in TABLE}
