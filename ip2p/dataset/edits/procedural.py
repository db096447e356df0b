"""Edits of a photograph that are computed: what `dataset photos` teaches. The phrasings stand in phrasings.yaml.

An edit is a function of the picture (and of its subject's mask) alone: nothing in it is drawn at random, so that a model
can learn it. image: (h, w, 3) float32 in [0, 1]; mask: (h, w) float32 in [0, 1], 1 is the subject. Lengths are in
`unit`s, a pixel of a picture whose shorter side is 256, so that an edit looks the same at any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

try:
    import cv2
    from skimage.segmentation import find_boundaries, slic
except ImportError as e:
    raise ImportError("Pairs from photographs need scikit-image and OpenCV: pip install 'sd-webui-instruct-edit[photos]'") from e

Array = np.ndarray

COLOURS = {  # (r, g, b) in [0, 1]
    "red": (0.86, 0.10, 0.10),
    "orange": (0.98, 0.52, 0.08),
    "yellow": (0.97, 0.86, 0.14),
    "green": (0.13, 0.64, 0.22),
    "blue": (0.12, 0.28, 0.86),
    "purple": (0.52, 0.16, 0.74),
    "pink": (0.98, 0.50, 0.72),
}
PLAIN = COLOURS | {"white": (0.97, 0.97, 0.97), "black": (0.03, 0.03, 0.03), "grey": (0.5, 0.5, 0.5)}
STRENGTHS = {"slightly": 0.5, "": 1.0, "much": 1.9}
METALS = {
    "gold": ((0.16, 0.08, 0.01), (0.62, 0.40, 0.06), (0.96, 0.76, 0.22), (1.0, 0.97, 0.74)),
    "silver": ((0.03, 0.04, 0.06), (0.32, 0.35, 0.40), (0.86, 0.90, 0.94), (1.0, 1.0, 1.0)),
    "bronze": ((0.10, 0.04, 0.02), (0.40, 0.20, 0.09), (0.74, 0.45, 0.24), (1.0, 0.82, 0.60)),
}


# ------------------------------------------------------------------------------------------------------------------ tools


def unit(image: Array) -> float:
    return min(image.shape[:2]) / 256


def light(image: Array) -> Array:
    """Luma of Rec. 601, (h, w)."""
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def blur(x: Array, sigma: float) -> Array:
    """Gaussian; a wide one at a smaller size, which looks the same."""
    small = int(sigma / 4)
    if small > 1:
        h, w = x.shape[:2]
        less = cv2.resize(x, (max(w // small, 1), max(h // small, 1)), interpolation=cv2.INTER_AREA)
        return cv2.resize(cv2.GaussianBlur(less, (0, 0), sigma / small, borderType=cv2.BORDER_REPLICATE), (w, h))
    return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def ramp(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, share: Array | float) -> Array:
    """share: of `b`, a number or (h, w)."""
    share = share[..., None] if isinstance(share, np.ndarray) and share.ndim == 2 else share
    return a + (b - a) * share


def saturated(image: Array, factor: float) -> Array:
    return mix(light(image)[..., None], image, factor)


def contrasted(image: Array, factor: float, around: float = 0.5) -> Array:
    return (image - around) * factor + around


def toned(levels: Array, *colours: tuple[float, float, float]) -> Array:
    """levels: (h, w) → the colours at equal steps from 0 to 1, linear between."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(levels, stops, channel) for channel in zip(*colours)], -1).astype(np.float32)


def stretched(levels: Array, weight: Array | None = None) -> Array:
    """Percentiles 2 and 98 (where weight > 0.5) moved to 0 and 1."""
    inside = levels if weight is None or (weight > 0.5).sum() < 16 else levels[weight > 0.5]
    low, high = np.percentile(inside, (2, 98))
    return ((levels - low) / max(high - low, 0.08)).clip(0, 1).astype(np.float32)


def height(image: Array) -> Array:
    """0 at the top row, 1 at the bottom, (h, w)."""
    h, w = image.shape[:2]
    return np.repeat(np.linspace(0, 1, h, dtype=np.float32)[:, None], w, 1)


def hsv(image: Array) -> tuple[Array, Array, Array]:
    """Hue in degrees, saturation and value in [0, 1]."""
    return cv2.split(cv2.cvtColor(np.ascontiguousarray(image.clip(0, 1), np.float32), cv2.COLOR_RGB2HSV))


def from_hsv(hue: Array, saturation: Array, value: Array) -> Array:
    parts = (hue % 360, saturation.clip(0, 1), value.clip(0, 1))
    return cv2.cvtColor(cv2.merge([part.astype(np.float32) for part in parts]), cv2.COLOR_HSV2RGB)


def guided(guide: Array, x: Array, radius: float, eps: float) -> Array:
    """x: (h, w) smoothed along the edges of `guide` (He et al., Guided Image Filtering, 2010)."""
    size = (2 * max(round(radius), 1) + 1,) * 2
    mean = partial(cv2.blur, ksize=size, borderType=cv2.BORDER_REFLECT)
    m_g, m_x = mean(guide), mean(x)
    a = (mean(guide * x) - m_g * m_x) / (mean(guide * guide) - m_g * m_g + eps)
    return (mean(a) * guide + mean(m_x - a * m_g)).clip(0, 1)


def flattened(image: Array, times: int, sigma: float = 0.1, reach: float = 5) -> Array:
    """Surfaces smoothed, edges kept: a bilateral filter, several times."""
    out = np.ascontiguousarray(image, np.float32)
    for _ in range(times):
        out = cv2.bilateralFilter(out, -1, sigma, reach * unit(image))
    return out


def slopes(levels: Array) -> tuple[Array, Array]:
    """Derivatives to the right and downwards."""
    return tuple(cv2.Scharr(levels, -1, *which) / 32 for which in ((1, 0), (0, 1)))


def outlines(image: Array, fine: float = 1.2) -> Array:
    """How strongly an edge runs here, about [0, 1], lines some three units wide."""
    u = unit(image)
    smooth = flattened(image, 2, 0.12, 4)
    strength = np.max([np.hypot(*slopes(blur(np.ascontiguousarray(c), fine * u))) for c in np.moveaxis(smooth, 2, 0)], 0) * u
    return (strength / max(np.percentile(strength, 97), 0.02)).clip(0, 1.2)


def sky_of(image: Array) -> Array:
    """Where the sky is, (h, w) in [0, 1]: bright, smooth, blue or colourless, and joined to the upper edge. All 0 without one."""
    u = unit(image)
    levels = light(image)
    hue, saturation, value = hsv(blur(image, 1.5 * u))
    rough = blur(np.hypot(*slopes(blur(levels, 0.8 * u))), 2 * u) * u
    blue = (hue > 180) & (hue < 265) & (saturation > 0.12) & (value > 0.3)
    pale = (saturation < 0.2) & (value > 0.55)
    maybe = ((blue & (rough < 0.035)) | (pale & (rough < 0.02))).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(round(5 * u) | 1, 3),) * 2)
    count, labels = cv2.connectedComponents(cv2.morphologyEx(maybe, cv2.MORPH_OPEN, kernel))
    top = np.bincount(labels[: max(round(3 * u), 1)].ravel(), minlength=count) > 12 * u
    top[0] = False
    found = top[labels].astype(np.float32)
    if found.mean() < 0.06:
        return np.zeros_like(levels)
    found = cv2.dilate(cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel), kernel)  # roughness ends it before the outline does
    return ramp(guided(levels, found, 6 * u, 1e-3), 0.25, 0.75)


def above_average(levels: Array, region: Array, reach: float) -> Array:
    """How much brighter than its surroundings within the region, (h, w)."""
    return (levels - blur(levels * region, reach) / (blur(region, reach) + 1e-3)) * region


def foliage_of(image: Array) -> Array:
    """How much of a leaf's or a lawn's green is here, (h, w) in [0, 1]."""
    hue, saturation, value = hsv(blur(image, unit(image)))
    green = ramp(hue, 48, 66) * (1 - ramp(hue, 150, 175))
    return blur(green * ramp(saturation, 0.1, 0.28) * ramp(value, 0.04, 0.14), 0.8 * unit(image))


def filled(image: Array, known: Array) -> Array:
    """The picture with what is not `known` (h, w) painted over from its surroundings, coarse to fine."""
    u = unit(image)
    out, weight = np.zeros_like(image), np.zeros_like(known)
    for sigma in (2, 6, 18, 54, 160):
        near = blur(known, sigma * u)
        share = ramp(near, 0.004, 0.06) * (1 - weight)
        out += blur(image * known[..., None], sigma * u) / (near[..., None] + 1e-6) * share[..., None]
        weight += share
    fill = (out + image * (1 - weight[..., None])).astype(np.float32)
    return mix(fill, image, ramp(known, 0.5, 1))


def without_subject(image: Array, mask: Array) -> Array:
    """The picture with its surroundings in the subject's place."""
    return filled(image, 1 - ramp(mask, 0.05, 0.4))


def clean_subject(image: Array, mask: Array) -> Array:
    """The subject's own colours carried over its soft edge, so that no rim of the old background stays."""
    inside = ramp(mask, 0.85, 0.98)
    near = blur(inside, 2.5 * unit(image))
    spread = blur(image * inside[..., None], 2.5 * unit(image)) / (near[..., None] + 1e-6)
    return mix(image, spread, (1 - inside) * ramp(near, 0.01, 0.1))


# ------------------------------------------------------------------------------------------------------------------ kinds


@dataclass(frozen=True)
class Kind:
    """One kind of edit.

    edit: (image, mask, value) → image, before it is confined to its region.
    region: what it may touch: "all", "subject" or "background".
    parameter: its parameter's name; values: the parameter's words and what they mean, {"": None} for none.
    suits: (image, subject) → whether it makes sense there.
    """

    name: str
    edit: Callable[[Array, Array, object], Array]
    region: str
    parameter: str
    values: Mapping[str, object]
    suits: Callable[[Array, Array], bool]

    @property
    def local(self) -> bool:
        return self.region != "all"

    def mask(self, subject: Array) -> Array:
        """Where it acts, (h, w), given the subject's mask."""
        return {"all": np.ones_like(subject), "subject": subject, "background": 1 - subject}[self.region]

    def __call__(self, image: Array, subject: Array, value: str = "") -> Array:
        """The edited picture; outside its mask a local kind leaves every pixel as it is. value: one of `values`' words."""
        out = self.edit(image, subject, self.values[value]).clip(0, 1).astype(np.float32)
        if self.region == "background":
            return mix(clean_subject(image, subject), out, 1 - subject)
        return mix(image, out, subject) if self.local else out


def colour_in(image: Array, region: Array) -> float:
    """Mean distance between a pixel's largest and smallest channel where the region is."""
    return float((np.ptp(image, 2) * region).sum() / max(region.sum(), 1))


def anything(image: Array, subject: Array) -> bool:
    return True


def colourful(image: Array, subject: Array) -> bool:
    return colour_in(image, np.ones_like(subject)) > 0.06


def colourful_parts(image: Array, subject: Array) -> bool:
    """Subject and background both: else taking the colour of one is taking it of all, or of nothing."""
    return min(colour_in(image, subject), colour_in(image, 1 - subject)) > 0.09


def not_dark(image: Array, subject: Array) -> bool:
    return float(light(image).mean()) > 0.28


def not_bright(image: Array, subject: Array) -> bool:
    return float(light(image).mean()) < 0.66


def under_sky(image: Array, subject: Array) -> bool:
    """Not a studio's white, which is the same all over."""
    sky = sky_of(image) > 0.5
    return float(sky.mean()) > 0.12 and float(light(image)[sky].std()) > 0.012


def leafy(image: Array, subject: Array) -> bool:
    return float(foliage_of(image).mean()) > 0.08


KINDS: dict[str, Kind] = {}


def edit(region: str = "all", values: Mapping[str, object] | None = None, parameter: str = "", suits=anything):
    """Registers a function (image, mask, value) → image as the kind of its name."""

    def register(function):
        name = function.__name__
        KINDS[name] = Kind(name, function, region, parameter, {"": None} if values is None else values, suits)
        return function

    return register


# tone and colour


@edit(suits=colourful)
def black_and_white(image, mask, value):
    return contrasted(toned(light(image), (0, 0, 0), (1, 1, 1)), 1.1)


@edit()
def sepia(image, mask, value):
    return toned(stretched(light(image)) * 0.96, (0.13, 0.06, 0.02), (0.52, 0.35, 0.18), (0.98, 0.87, 0.66))


@edit()
def vintage(image, mask, value):
    """A faded colour print: lifted blacks, greenish shadows, yellowed lights, a dark rim."""
    levels = 0.20 + 0.66 * saturated(image, 0.62)
    levels = levels * np.array([1.08, 0.99, 0.76], np.float32) + np.array([0.02, 0.03, 0.02], np.float32)
    h, w = image.shape[:2]
    y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)[None]
    return levels * (1 - 0.32 * ramp(np.hypot(x, y), 0.75, 1.4))[..., None]


@edit(values=STRENGTHS, parameter="strength")
def warmer(image, mask, value):
    return image ** (1 / (1 + 0.12 * value)) * np.array([1 + 0.10 * value, 1.0, 1 - 0.26 * value], np.float32)


@edit(values=STRENGTHS, parameter="strength")
def colder(image, mask, value):
    return image * np.array([1 - 0.24 * value, 1 - 0.02 * value, 1 + 0.12 * value], np.float32) + np.array([0, 0, 0.07 * value], np.float32)


@edit(values=STRENGTHS, parameter="strength", suits=not_bright)
def brighter(image, mask, value):
    return 1 - (1 - image) ** (1 + 0.75 * value)


@edit(values=STRENGTHS, parameter="strength", suits=not_dark)
def darker(image, mask, value):
    return image ** (1 + 0.35 * value) * (1 - 0.22 * value)


@edit(suits=colourful)
def vivid(image, mask, value):
    hue, saturation, level = hsv(image)
    return contrasted(from_hsv(hue, 1 - (1 - saturation) ** 2.6, level**0.92), 1.15, 0.45)


@edit()
def inverted(image, mask, value):
    return 1 - image


@edit(values=COLOURS, parameter="colour")
def tint(image, mask, value):
    """As through coloured glass: light in one colour, white stays its palest shade."""
    colour = np.array(value, np.float32)
    return toned(stretched(light(image)), tuple(colour * 0.06), tuple(colour * 0.75), tuple(colour * 0.45 + 0.55))


@edit()
def thermal(image, mask, value):
    levels = (stretched(blur(light(image), 2 * unit(image))) * 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1].astype(np.float32) / 255


# weather, season, time of day


@edit(suits=not_dark)
def night(image, mask, value):
    """Moonlight: dim and blue, the sky nearly black at the top, what shone brightest glows like a lamp."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    moonlit = mix(levels[..., None], image, 0.35) ** 1.25 * np.array([0.24, 0.33, 0.58], np.float32)
    dark_sky = toned(height(image) * 1.3, (0.01, 0.02, 0.07), (0.05, 0.08, 0.20), (0.12, 0.15, 0.30)) + 0.05 * (levels - 0.6)[..., None]
    lamps = ramp(levels - blur(levels, 5 * u), 0.14, 0.34) * ramp(levels, 0.6, 0.85) * (1 - ramp(blur(sky, 5 * u), 0.02, 0.2))
    glow = np.maximum(lamps, 0) + 0.9 * blur(lamps, 4 * u)
    return mix(moonlit, dark_sky, sky * 0.92) + glow.clip(0, 1)[..., None] * np.array([0.75, 0.50, 0.18], np.float32)


@edit(suits=not_dark)
def sunset(image, mask, value):
    """A sky from violet to gold, and low orange light on the rest."""
    levels, sky = light(image), sky_of(image)
    horizon = max((height(image) * (sky > 0.5)).max(), 0.35)
    evening = toned(height(image) / horizon, (0.30, 0.16, 0.42), (0.78, 0.28, 0.36), (0.99, 0.52, 0.20), (1.0, 0.80, 0.38))
    evening = evening + 0.5 * above_average(levels, sky, 12 * unit(image))[..., None]
    land = toned(levels**1.15, (0.08, 0.02, 0.10), (0.58, 0.25, 0.16), (1.0, 0.66, 0.30), (1.0, 0.90, 0.62))
    land = mix(land, image * np.array([1.0, 0.62, 0.36], np.float32), 0.45)
    return mix(land, evening, sky)


@edit()
def winter(image, mask, value):
    """Snow on what faces up, on the ground and on leaves, under a white sky, in a cold light."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    fine, coarse = blur(levels, 0.9 * u), blur(levels, 2.5 * u)
    up = ramp(-slopes(fine)[1] * u, 0.012, 0.07) + ramp(-slopes(coarse)[1] * u, 0.006, 0.03)
    leaves = foliage_of(image) * ramp(levels - blur(levels, 8 * u), -0.16, 0.03)
    flat = 1 - ramp(blur(np.hypot(*slopes(fine)) * u, 4 * u), 0.02, 0.06)
    ground = ramp(height(image), 0.5, 0.9) * (0.35 + 0.65 * flat) * ramp(levels, 0.12, 0.4)
    snow = blur(np.max([up.clip(0, 1) * 0.85, leaves, ground * 0.9], 0), 0.7 * u) * (1 - sky)
    cold = saturated(image, 0.35) * np.array([0.86, 0.95, 1.08], np.float32) * 0.85 + 0.08
    white = toned(0.45 + 0.55 * stretched(levels), (0.55, 0.64, 0.78), (0.80, 0.86, 0.95), (0.99, 1.0, 1.0))
    pale = toned(0.6 * height(image) + 0.4 * stretched(levels), (0.72, 0.77, 0.84), (0.93, 0.95, 0.97))
    return mix(mix(cold, white, snow), pale, sky)


@edit(suits=leafy)
def autumn(image, mask, value):
    """Green turns to yellow in the light and to red in the shade."""
    hue, saturation, level = hsv(image)
    light_here = stretched(blur(light(image), 2.5 * unit(image)), foliage_of(image))
    leaves = from_hsv(8 + 36 * light_here + 0.10 * (hue - 90).clip(-40, 40), 0.35 + saturation * 0.75, level * 1.3 + 0.1)
    graded = image * np.array([1.05, 0.98, 0.86], np.float32)
    return mix(graded, leaves, foliage_of(image))


@edit(suits=leafy)
def blossom(image, mask, value):
    """Green turns to cherry blossom."""
    leaves = foliage_of(image)
    levels = stretched(light(image), leaves)
    return mix(image, toned(levels**0.75, (0.48, 0.16, 0.30), (0.93, 0.52, 0.68), (1.0, 0.80, 0.88), (1.0, 0.95, 0.97)), leaves * 0.96)


@edit()
def fog(image, mask, value):
    """White haze, thicker towards the top, where a picture is far away."""
    u = unit(image)
    depth = 0.93 - 0.38 * ramp(height(image), 0.35, 1.0)
    soft = mix(image, blur(image, 2.5 * u), 0.7 * (1 - ramp(height(image), 0.4, 1.0)))
    return mix(saturated(soft, 0.5), np.array([0.86, 0.88, 0.90], np.float32), depth * 0.92)


@edit()
def rain(image, mask, value):
    """A dark, blue-grey day, falling drops, and wet ground that mirrors what stands on it."""
    u = unit(image)
    h = image.shape[0]
    grey = saturated(image, 0.4) * np.array([0.60, 0.68, 0.78], np.float32)
    grey = contrasted(grey, 0.75, 0.42) * 1.12
    sky = sky_of(image)
    grey = mix(grey, toned(height(image), (0.24, 0.27, 0.32), (0.52, 0.55, 0.58)), sky * 0.85)
    wet = ramp(height(image), 0.72, 1.0)
    rows = (2 * round(0.72 * h) - np.arange(h)).clip(0, h - 1)
    mirror = cv2.blur(np.ascontiguousarray(grey[rows]), (max(round(2 * u), 1), max(round(9 * u), 1)))
    grey = mix(grey, mirror * 1.1, wet * 0.45)
    return grey + streaks(image.shape[:2], u)[..., None] * np.array([0.22, 0.24, 0.26], np.float32)


@lru_cache(maxsize=8)
def streaks(size: tuple[int, int], u: float) -> Array:
    """Falling rain, the same in every picture of a size, (h, w) in [0, 1]."""
    h, w = size
    noise = np.random.default_rng(7).random((1024, 1024), np.float32)
    drops = np.ascontiguousarray(np.roll(noise, (-(512 - h // 2), -(512 - w // 2)), (0, 1))[:h, :w]) if max(size) <= 1024 else noise
    if drops.shape != size:
        drops = cv2.resize(noise, (w, h), interpolation=cv2.INTER_NEAREST)
    length = max(round(24 * u), 3)
    kernel = np.zeros((length, length), np.float32)
    kernel[:, length // 2] = 1
    lines = cv2.filter2D((drops > 0.992).astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
    return blur(lines, 0.6 * u).clip(0, 1)


@edit(suits=under_sky)
def cloudy(image, mask, value):
    """An overcast sky, and the flat grey light under it."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    land = contrasted(saturated(image, 0.5), 0.7, 0.42) * np.array([0.86, 0.89, 0.92], np.float32)
    waves = clouds(image.shape[:2]) * 0.55 + stretched(above_average(levels, sky, 40 * u), sky) * 0.45
    heavy = toned(waves * 0.75 + 0.25 * height(image), (0.40, 0.43, 0.48), (0.60, 0.62, 0.66), (0.82, 0.83, 0.85))
    return mix(land, heavy, sky)


@lru_cache(maxsize=8)
def clouds(size: tuple[int, int]) -> Array:
    """A blanket of clouds, the same in every picture, (h, w) in [0, 1]."""
    h, w = size
    rng = np.random.default_rng(11)
    total = np.zeros(size, np.float32)
    for octave in range(1, 5):
        grid = rng.random((3 * 2**octave, 2 * 2**octave)).astype(np.float32)
        total += cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC) / 1.7**octave
    return stretched(total)


@edit(suits=under_sky)
def sunny(image, mask, value):
    """A blue sky and bright warm light."""
    levels, sky = light(image), sky_of(image)
    puffs = ramp(above_average(levels, sky, 25 * unit(image)), 0.02, 0.12)
    horizon = max((height(image) * (sky > 0.5)).max(), 0.3)
    blue = toned(height(image) / horizon, (0.10, 0.36, 0.82), (0.28, 0.58, 0.93), (0.66, 0.84, 0.98))
    blue = mix(blue, np.ones(3, np.float32), 0.8 * puffs)
    land = contrasted(saturated(image, 1.35), 1.18, 0.42) * np.array([1.10, 1.03, 0.86], np.float32) + 0.04
    return mix(land, blue, sky)


@edit()
def underwater(image, mask, value):
    """Red is swallowed, the deep is dark, light comes from above."""
    u = unit(image)
    soft = blur(image, 0.8 * u)
    water = toned(1 - height(image), (0.0, 0.10, 0.26), (0.0, 0.34, 0.52), (0.22, 0.74, 0.80))
    lit = soft * np.array([0.28, 0.85, 0.95], np.float32) * (1.05 - 0.45 * height(image))[..., None]
    return mix(lit, water, 0.5)


# drawing and painting


@edit()
def pencil(image, mask, value):
    u = unit(image)
    levels = light(flattened(image, 1, 0.08, 3))
    dodge = (levels / (blur(levels, 4.5 * u) + 0.02)).clip(0, 1) ** 2.2
    shade = 0.80 + 0.20 * stretched(blur(levels, 2 * u))
    return toned((dodge * shade).clip(0, 1), (0.12, 0.12, 0.13), (0.62, 0.62, 0.62), (0.985, 0.98, 0.965))


@edit()
def watercolour(image, mask, value):
    """Clear washes that pool darker along outlines, on white paper that shows through where it is light."""
    u = unit(image)
    hue, saturation, level = hsv(blur(flattened(image, 4, 0.14, 5), 0.7 * u))
    level = stretched(level)
    wash = from_hsv(hue, saturation * (1.45 - 0.5 * level), 0.40 + 0.62 * level)
    edges = outlines(image, 1.0)
    pooled = 0.42 * ramp(edges, 0.2, 0.8) + 0.14 * blur(edges, 3 * u)
    return mix(mix(wash, np.ones(3, np.float32), 0.12 + 0.55 * ramp(level, 0.6, 1.0)), wash * 0.4, pooled)


@edit()
def oil(image, mask, value):
    """Each stroke takes the commonest brightness around it (Haeberli's oil filter); thick paint catches the light."""
    u = unit(image)
    picture = contrasted(saturated(image, 1.35), 1.1, 0.45).clip(0, 1)
    for reach in (5, 3):
        picture = commonest(picture, reach * u)
    down = slopes(blur(light(picture), 0.6 * u))[1]
    canvas = picture * np.array([1.03, 1.0, 0.90], np.float32)
    return canvas + (3.2 * u * down).clip(-0.2, 0.2)[..., None]


def commonest(image: Array, reach: float, steps: int = 8) -> Array:
    """Every pixel becomes the mean of those around it that have the commonest of `steps` levels of brightness there."""
    levels = (light(image) * steps).round().clip(0, steps)
    most, paint = np.zeros_like(levels), np.zeros_like(image)
    for level in range(steps + 1):
        inside = (levels == level).astype(np.float32)
        count = blur(inside, reach * 0.6)
        mean = blur(image * inside[..., None], reach * 0.6) / (count[..., None] + 1e-6)
        wins = count > most
        most[wins], paint[wins] = count[wins], mean[wins]
    return paint


def cells_of(image: Array, size: float, compactness: float) -> tuple[Array, Array]:
    """Superpixels about `size` wide: labels (h, w), and every pixel's mean colour over its cell."""
    h, w = image.shape[:2]
    labels = slic(image, int(h * w / size**2), compactness, start_label=0, enforce_connectivity=True)
    count = np.bincount(labels.ravel())
    means = np.stack([np.bincount(labels.ravel(), c.ravel()) for c in np.moveaxis(image, 2, 0)], -1) / count[:, None]
    return labels, means[labels].astype(np.float32)


def joints(labels: Array, width: float) -> Array:
    """Lines between cells, (h, w) in [0, 1]."""
    lines = find_boundaries(labels, mode="inner").astype(np.float32)
    return ramp(blur(lines, width), 0.15, 0.45)


@edit()
def mosaic(image, mask, value):
    """Square stones in grey mortar, laid out from the middle of the picture."""
    u = unit(image)
    side = max(round(16 * u), 3)
    picture = contrasted(saturated(image, 1.3), 1.1)
    tiles = blocks(picture, side)
    y, x = tile_places(image.shape[:2], side)
    edge = np.minimum(np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x))
    tiles = tiles + (0.5 - y / side)[..., None] * 0.16
    return mix(tiles, np.array([0.80, 0.78, 0.74], np.float32), 1 - ramp(edge.astype(np.float32), -0.5, 2 * u))


def tile_places(size: tuple[int, int], side: int) -> list[Array]:
    """Row and column within its tile for every pixel, (h, w) each; a corner of four tiles is in the middle of the picture."""
    return np.meshgrid(*((np.arange(n) - n // 2) % side for n in size), indexing="ij")


def blocks(image: Array, side: int) -> Array:
    """Every tile in its mean colour."""
    h, w = image.shape[:2]
    before = [-(n // 2) % side for n in (h, w)]
    after = [-(n + b) % side for n, b in zip((h, w), before)]
    padded = np.pad(image, (*zip(before, after), (0, 0)), mode="edge")
    H, W = padded.shape[:2]
    means = padded.reshape(H // side, side, W // side, side, 3).mean((1, 3))
    return means.repeat(side, 0).repeat(side, 1)[before[0] : before[0] + h, before[1] : before[1] + w]


@edit()
def pixel_art(image, mask, value):
    side = max(round(12 * unit(image)), 2)
    squares = blocks(contrasted(saturated(image, 1.5), 1.15, 0.45).clip(0, 1), side)
    return (squares * 5).round() / 5


@edit()
def stained_glass(image, mask, value):
    u = unit(image)
    labels, panes = cells_of(image, 24 * u, 16)
    hue, saturation, level = hsv(panes)
    glass = from_hsv(hue, 0.32 + 1.3 * saturation, 0.2 + 0.95 * level)
    return mix(glass, np.array([0.04, 0.04, 0.05], np.float32), joints(labels, 0.9 * u))


@edit()
def posterise(image, mask, value):
    """Six flat colours, those of the picture made stronger."""
    smooth = blur(flattened(image, 3, 0.12, 4), 0.7 * unit(image))
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    cv2.setRNGSeed(1)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.3)
    sample = np.ascontiguousarray(lab[:: max(round(2 * unit(image)), 1), :: max(round(2 * unit(image)), 1)].reshape(-1, 3))
    _, _, inks = cv2.kmeans(sample, 6, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    nearest = ((lab[:, :, None] - inks) ** 2).sum(-1).argmin(-1)
    inks[:, 0] = (inks[:, 0] - 50) * 1.25 + 52
    inks[:, 1:] *= 1.7
    return cv2.cvtColor(inks[None], cv2.COLOR_LAB2RGB)[0][nearest]


@edit()
def pop_art(image, mask, value):
    """A screen print in four inks, dark to light."""
    levels = stretched(blur(light(flattened(image, 2, 0.12, 4)), 0.8 * unit(image)))
    inks = np.array([(0.13, 0.05, 0.36), (0.93, 0.08, 0.50), (1.0, 0.55, 0.10), (1.0, 0.95, 0.30)], np.float32)
    return inks[np.digitize(levels, (0.27, 0.5, 0.75))]


@edit()
def cartoon(image, mask, value):
    smooth = flattened(image, 4, 0.14, 6)
    hue, saturation, level = hsv(smooth)
    steps = level * 4
    level = (np.floor(steps) + ramp(steps % 1, 0.35, 0.65) + 0.25) / 4.25
    flat = from_hsv(hue, saturation * 1.45, level * 1.08)
    return flat * (1 - ramp(outlines(image), 0.38, 0.75))[..., None]


@edit()
def neon(image, mask, value):
    """Outlines glow on black, magenta where they run down, cyan where they run across."""
    u = unit(image)
    lines = ramp(outlines(image), 0.15, 0.75)
    right, down = (np.abs(blur(x, 3 * u)) for x in slopes(blur(light(image), 1.2 * u)))
    across = blur(ramp(down / (right + down + 1e-4), 0.25, 0.75), 2 * u)
    colour = toned(across, (1.0, 0.08, 0.78), (0.45, 0.35, 1.0), (0.05, 0.95, 1.0))
    glow = lines + 0.9 * blur(lines, 3.5 * u)
    return colour * glow[..., None] + (ramp(lines, 0.7, 1) * 0.45)[..., None] + np.array([0.015, 0.01, 0.045], np.float32)


@edit()
def blueprint(image, mask, value):
    lines = ramp(outlines(image, 0.9), 0.12, 0.8)
    paper = toned(stretched(blur(light(image), 3 * unit(image))), (0.03, 0.16, 0.46), (0.08, 0.27, 0.60))
    return mix(paper, np.array([0.93, 0.97, 1.0], np.float32), lines)


# the subject


def shading(image: Array, mask: Array, relief: float = 1.0) -> Array:
    """The subject's brightness without its own colours' share, about [0, 1]: what a statue of it would show."""
    u = unit(image)
    levels = light(flattened(image, 1, 0.06, 3))
    around = filled(levels[..., None].repeat(3, 2), ramp(mask, 0.5, 0.9))[..., 0]
    local = around - blur(around, 14 * u)
    spread = np.sqrt(blur(local * local, 20 * u)) + 0.05
    form = 0.5 + 0.24 * relief * local / spread
    edge = ramp(blur(mask, 5 * u), 0.35, 0.95)
    return (form * 0.75 + 0.25 * stretched(blur(levels, 4 * u), mask) - 0.22 * (1 - edge)).clip(0, 1)


@edit("subject", COLOURS, "colour")
def subject_colour(image, mask, value):
    """Painted: the colour's hue, the subject's own light and shade."""
    levels = stretched(light(image), mask)
    colour = np.array(value, np.float32)
    paint = toned(0.08 + 0.84 * levels, tuple(colour * 0.12), tuple(colour * 0.62), tuple(colour), tuple(colour * 0.55 + 0.45))
    return mix(paint, saturated(image, 0.5), 0.1)


@edit("subject")
def subject_stone(image, mask, value):
    form = shading(image, mask, 1.1)
    return toned(form, (0.12, 0.12, 0.12), (0.46, 0.45, 0.43), (0.78, 0.77, 0.73)) + grain(image)[..., None] * 0.10


def grain(image: Array) -> Array:
    """The picture's own finest detail, evened out, as the roughness of stone: about [-1, 1]."""
    u = unit(image)
    levels = light(image)
    fine = levels - blur(levels, 1.3 * u)
    return (fine / (np.sqrt(blur(fine * fine, 8 * u)) + 0.006)).clip(-2, 2) / 2


@edit("subject")
def subject_marble(image, mask, value):
    """White and polished; slanting grey veins, bent by the picture's own brightness."""
    u = unit(image)
    form = shading(image, mask, 0.85)
    h, w = image.shape[:2]
    slant = np.arange(w, dtype=np.float32)[None] * 0.8 + np.arange(h, dtype=np.float32)[:, None]
    fold = (slant / (62 * u) + 1.7 * blur(light(image), 9 * u)) % 1
    vein = np.exp(-(((fold - 0.45) / 0.035) ** 2)) + 0.4 * np.exp(-(((fold - 0.72) / 0.11) ** 2))
    return toned(form * 1.08, (0.34, 0.35, 0.39), (0.80, 0.81, 0.83), (1.0, 1.0, 0.985)) * (1 - 0.27 * vein.clip(0, 1)[..., None])


@edit("subject")
def subject_wood(image, mask, value):
    """Carved: year rings follow the softened brightness."""
    u = unit(image)
    form = shading(image, mask)
    w = image.shape[1]
    across = np.abs(np.arange(w, dtype=np.float32) - (w - 1) / 2)[None] / (20 * u)
    rings = (across + 0.9 * height(image) + 3.2 * blur(light(image), 8 * u)) % 1
    rings = blur(rings**1.6, 0.8 * u)
    wood = toned(form, (0.16, 0.07, 0.02), (0.56, 0.32, 0.14), (0.93, 0.70, 0.42))
    return wood * (1.10 - 0.34 * rings)[..., None]


@edit("subject", METALS, "metal")
def subject_metal(image, mask, value):
    """Polished: brightness folded as reflections fold it."""
    form = shading(image, mask, 1.25)
    shine = 0.5 - 0.5 * np.cos(2 * np.pi * (form * 1.45 + 0.05))
    return toned(contrasted(0.4 * form + 0.6 * shine * (0.4 + 0.6 * form) + 0.12, 1.35).clip(0, 1), *value)


@edit("subject")
def subject_ice(image, mask, value):
    form = shading(image, mask, 1.2)
    rim = 1 - ramp(blur(mask, 3.5 * unit(image)), 0.5, 0.98)
    clear = toned(form, (0.10, 0.36, 0.62), (0.48, 0.78, 0.92), (0.93, 0.99, 1.0))
    back = filled(image, 1 - ramp(mask, 0.02, 0.3))
    return mix(mix(clear, back, 0.16), np.array([0.94, 0.99, 1.0], np.float32), 0.65 * rim)


@edit("subject")
def subject_silhouette(image, mask, value):
    return np.full_like(image, 0.02)


@edit("subject", suits=colourful_parts)
def subject_grey(image, mask, value):
    return black_and_white(image, mask, value)


# the background


@edit("background", suits=colourful_parts)
def background_grey(image, mask, value):
    return black_and_white(image, mask, value)


@edit("background")
def background_blur(image, mask, value):
    return blur(without_subject(image, mask), 8 * unit(image))


@edit("background", suits=not_dark)
def background_night(image, mask, value):
    return night(without_subject(image, mask), mask, value) * 0.8


@edit("background", PLAIN, "colour")
def background_colour(image, mask, value):
    return np.broadcast_to(np.array(value, np.float32), image.shape)


@edit("background")
def background_sunset(image, mask, value):
    return toned(height(image), (0.22, 0.14, 0.42), (0.70, 0.26, 0.44), (0.98, 0.50, 0.24), (1.0, 0.82, 0.42), (0.62, 0.28, 0.20))


@edit("background")
def background_snow(image, mask, value):
    return winter(without_subject(image, mask), mask, value)


@edit("background")
def background_sketch(image, mask, value):
    return pencil(image, mask, value)
