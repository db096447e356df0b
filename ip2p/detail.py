"""A small result brought to the photograph's own size, with the photograph's own detail.

Most edits (season, weather, light, colour) keep the picture's structure: they are, near any place, an affine map of its colours. That
map is fitted at working size, between the photograph *as the autoencoder gives it back* and the result, so that the autoencoder's loss
is on both sides and cancels; then it is applied to the photograph itself. Where no such map explains the result, something new is
there, and the enlarged result stays; and so it does in all of a painting.

Sources: the affine map by windows is the guided filter (He, Sun and Tang, Guided Image Filtering, TPAMI 2013), fast and wide to narrow
(He and Sun, arXiv 1505.00996); maps fitted small and applied large: Chen, Adams, Wadhwa and Hasinoff, Bilateral Guided Upsampling, 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from einops import rearrange
from PIL import Image

from .errors import EditError

Array = np.ndarray

UNIT = 256  # radii are in units of the longest working side / 256
WIDE, NARROW, SINGLE = 32, 8, 24  # radii of the two windows of the fit, and of the one that tells what is new
RIDGE = 1e-3  # added to every variance, of levels in [0, 1]
MAX_GAIN = 3.0  # of a map's response to grey
NOISE = 0.006  # the least fine contrast that counts, as a standard deviation
SHARP = 0.4, 0.9  # share of the photograph's fine contrast that a result keeps: below, something else is there
NEW = 0.12  # standard deviation of what the map leaves, from which on something new is there
SQUEEZED = 0.021  # how far the aspects of photograph and result may differ, beside a pixel of rounding
FLAT, CLEAR = 0.5, 1.0  # shares of the fine contrast that is due: a place is flat below, clear above
MIXED = 0.05  # how evenly a place has both near it, 1 where they are as frequent, from which on it is mixed
PAINTED = 0.505, 0.53  # share of the textured picture that is mixed, from where on to where a result is taken for a painting
STRANGE = 0.69, 0.79  # share of the contrast that one wide window's map leaves: from where on to where nothing is the photograph's
UNLIKE = 0.5, 1.0  # share of the photograph's contrast that is lost in the decoded one: from where on to where that is another picture
CONTRAST = 0.05  # the least contrast that counts there, as a standard deviation
MISSING = (
    "The photograph's own detail is carried over by OpenCV: install it with pip install 'sd-webui-instruct-edit[edit]', "
    "or take the result “own-size”."
)
STRIP = 128  # rows of the photograph worked on at once


def transfer(
    photograph: Image.Image,
    result: Array,
    decoded: Array,
    strength: float = 1.0,
    mask: Image.Image | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """A result at the photograph's size, with the photograph's own detail wherever an affine map of its colours explains the result.

    photograph: RGB, W × H pixels, whatever their number.
    result: (h, w, 3), levels in [0, 255]: the edited picture, of the whole photograph (the same aspect within 2 %).
    decoded: (h, w, 3), levels in [0, 255]: the photograph at that size through the autoencoder that made the result, and nothing else
        done to it. The plain photograph in its place costs most of the gain, except for results that no autoencoder made.
    strength: 0 to 1: 0 only enlarges the result (Lanczos), 1 carries all detail.
    mask: L, W × H: where it is black, the photograph's pixels stay bit for bit; grey mixes.
    on_rows(done, of all): after every strip of rows; may raise to stop.

    → RGB, W × H. Memory beside both pictures is some strips of rows and about 400 bytes a pixel of the result. Needs OpenCV (cv2),
    except for strength 0. The module's docstring names the sources. Raises EditError for sizes, aspects or a strength that can't be.
    """
    check(photograph, result, decoded, strength, mask)
    fitted = DetailMap.fit(photograph, result, decoded, strength) if strength > 0 else DetailMap.enlarging(result)
    return fitted.applied(photograph, mask, on_rows)


def check(photograph: Image.Image, result: Array, decoded: Array, strength: float, mask: Image.Image | None = None) -> None:
    """Raises EditError for arguments of `transfer` that do not go together."""
    if photograph.mode != "RGB":
        raise EditError(f"The photograph is in mode {photograph.mode}: convert it to RGB first.")
    if result.ndim != 3 or result.shape[2] != 3 or not result.size:
        raise EditError(f"The result has the shape {result.shape}: it must be height, width and 3 colours.")
    if decoded.shape != result.shape:
        raise EditError(
            f"The decoded photograph has the shape {decoded.shape} and the result {result.shape}: bring the photograph to the result's size first."
        )
    if not 0 <= strength <= 1:
        raise EditError(f"The strength of the detail must be between 0 and 1, not {strength}.")
    if mask is not None and (mask.mode != "L" or mask.size != photograph.size):
        sizes = "{}x{} in mode {}".format(*mask.size, mask.mode) + ", but the photograph is {}x{}".format(*photograph.size)
        raise EditError(f"The mask is {sizes}: make it grey (L) and of the same size.")
    (W, H), (h, w) = photograph.size, result.shape[:2]
    if abs(w * H - h * W) > SQUEEZED * min(w * H, h * W) + max(W, H, w, h):
        raise EditError(
            f"The result is {w}x{h} and the photograph {W}x{H}, another aspect: the result must show the whole photograph. "
            "If it was cropped, crop the photograph in the same way first."
        )


@dataclass(frozen=True)
class DetailMap:
    """out = up(A)·I + up(b), pixels in [0, 1] as column vectors. A: (h, w, 3, 3), None where nothing is taken from the photograph;
    b: (h, w, 3)."""

    A: Array | None
    b: Array

    @classmethod
    def enlarging(cls, result: Array) -> DetailMap:
        return cls(None, np.asarray(result, np.float32) / 255)

    @classmethod
    def fit(cls, photograph: Image.Image, result: Array, decoded: Array, strength: float = 1.0) -> DetailMap:
        """Arguments as of `transfer`."""
        h, w = result.shape[:2]
        R, V = (np.asarray(x, np.float32) / 255 for x in (result, decoded))
        P = np.asarray(photograph.resize((w, h), Image.Resampling.LANCZOS), np.float32) / 255
        u = max(h, w) / UNIT
        A = fitted(V, R, (WIDE * u, NARROW * u))
        A *= (MAX_GAIN / np.maximum(np.abs(A.sum(-1)).max(-1), MAX_GAIN))[..., None, None]
        b = mean(R - times(A, V), NARROW * u)
        F = times(A, V) + b
        W = wide(V, R, SINGLE * u)
        anew = resemblance(V, P) * (1 - (1 - paintedness(R, W, u)) * (1 - strangeness(R, W, u)))
        confidence = sharpness(R, F, u) * familiarity(R, W, u) * (1 - anew)
        # What the map leaves is part of the edit, unless it is no more than what the autoencoder did to the photograph.
        left = R - F
        E = left - mean(left, 6 * u)
        lost = mean(squared(times(A, P - V)), 2 * u) + 0.01**2
        M = F + E * (lost / (mean(squared(E), u) + lost))[..., None]
        share = (strength * confidence)[..., None]
        return cls(A * share[..., None], R + share * (b - M))

    def applied(
        self, photograph: Image.Image, mask: Image.Image | None = None, on_rows: Callable[[int, int], None] | None = None
    ) -> Image.Image:
        """In strips of rows, so that memory is bounded whatever the size. Arguments as of `transfer`."""
        width, height = photograph.size
        out = Image.new("RGB", photograph.size)
        offsets = [Image.fromarray(np.ascontiguousarray(plane)) for plane in rearrange(self.b * 255, "h w c -> c h w")]
        maps = None if self.A is None else np.ascontiguousarray(rearrange(self.A, "h w i j -> i j h w"))
        for top in range(0, height, STRIP):
            rows = slice(top, min(top + STRIP, height))
            box = 0, top, width, rows.stop
            source = np.asarray(photograph.crop(box))
            pixels = [source[..., channel].astype(np.float32) for channel in range(3)]
            strip = [lanczos(offset, rows, photograph.size) for offset in offsets]
            if maps is not None:
                for plane, responses in zip(strip, linear(maps, rows, photograph.size)):
                    for response, channel in zip(responses, pixels):
                        response *= channel
                        plane += response
            if mask is not None:
                share = np.asarray(mask.crop(box), np.float32) / 255
                strip = [plane.clip(0, 255) * share + channel * (1 - share) for plane, channel in zip(strip, pixels)]
            levels = np.empty((rows.stop - top, width, 3), np.uint8)
            for i, plane in enumerate(strip):
                levels[..., i] = np.clip(plane + 0.5, 0, 255.5)
            out.paste(Image.fromarray(levels), box)
            if on_rows:
                on_rows(rows.stop, height)
        return out


def fitted(V: Array, R: Array, radii: Sequence[float]) -> Array:
    """(h, w, 3, 3): R is about A·V + b, first of the whole picture, then what is left in windows of these radii."""
    x, y = (rearrange(p - p.mean((0, 1)), "h w c -> (h w) c") for p in (V, R))
    A = np.broadcast_to((y.T @ x / len(x)) @ np.linalg.inv(x.T @ x / len(x) + RIDGE * np.eye(3, dtype=np.float32)), (*V.shape[:2], 3, 3))
    for radius in radii:
        variance = covariance(V, V, radius) + RIDGE * np.eye(3, dtype=np.float32)
        A = mean(A + covariance(R - times(A, V), V, radius) @ inverse(variance), radius)
    return A


def sharpness(R: Array, F: Array, u: float) -> Array:
    """(h, w) in [0, 1]: whether the result has the fine contrast that the map would give it, from the whole picture to small windows."""
    fine, expected = (gaussian(x, 0.7) - gaussian(x, 2) for x in (R, F))
    both, own = (fine * expected).mean(-1), squared(expected)
    slope = np.full(R.shape[:2], both.sum() / (own.sum() + 1e-9), np.float32)
    for radius in (64 * u, 16 * u, 6 * u):
        slope = (mean(both, radius) + NOISE**2 * slope) / (mean(own, radius) + NOISE**2)
    return smoothstep(slope, *SHARP)


def wide(V: Array, R: Array, radius: float) -> Array:
    """What the map of one wide window makes of V."""
    A = fitted(V, R, (radius,))
    return times(A, V) + mean(R - times(A, V), radius)


def familiarity(R: Array, W: Array, u: float) -> Array:
    """(h, w) in [0, 1]: near 0 where one wide window's map leaves much of the result unexplained."""
    return 1 / (1 + (mean(squared(R - W), 3 * u) / NEW**2) ** 2)


def resemblance(V: Array, P: Array) -> float:
    """In [0, 1]: how far the decoded photograph is the photograph. 0 for networks that have learned nothing, whose results are unlike
    anything, so that this says nothing of what they painted."""
    contrast = squared(P - P.mean((0, 1))).mean() + CONTRAST**2
    return float(1 - smoothstep(squared(P - V).mean() / contrast, *UNLIKE))


def paintedness(R: Array, W: Array, u: float) -> float:
    """In [0, 1]: 1 for a result that is flat in many places and clear beside them, where the wide window's map has texture in both.

    A painting is so all over; what is only blurred, or dark, or in fog is not.
    """
    has, due = (mean(squared(gaussian(x, 1) - gaussian(x, 3)), 1.5 * u) for x in (R, W))
    textured = due > NOISE**2
    places = np.stack([textured, textured & (has < FLAT**2 * due), textured & (has > CLEAR**2 * due)], -1)
    near, flat, clear = np.moveaxis(mean(places.astype(np.float32), 8 * u), -1, 0)
    mixed = 4 * flat * clear > MIXED * (near**2 + 1e-3)
    return float(smoothstep((near * mixed).mean() / (near.mean() + 1e-3), *PAINTED))


def strangeness(R: Array, W: Array, u: float) -> float:
    """In [0, 1]: 1 for a result that is nowhere what the wide window's map makes of the photograph, as neon lines and tiles are.

    By windows, so that one large new thing does not cost the rest its detail.
    """
    left = mean(squared(R - W), NARROW * u)
    contrast = mean(squared(R - mean(R, NARROW * u)), NARROW * u)
    return float(smoothstep(np.minimum(left / (contrast + CONTRAST**2), 1).mean(), *STRANGE))


def squared(x: Array) -> Array:
    return (x * x).mean(-1)


def times(A: Array, x: Array) -> Array:
    return np.einsum("...ij,...j->...i", A, x)


def covariance(y: Array, x: Array, radius: float) -> Array:
    """(h, w, 3, 3): of y's channels with x's in a window round every pixel."""
    return mean(y[..., :, None] * x[..., None, :], radius) - mean(y, radius)[..., :, None] * mean(x, radius)[..., None, :]


def inverse(S: Array) -> Array:
    """Of (…, 3, 3), symmetric and positive definite, by cofactors: LAPACK takes most of the fit's time for so many small ones."""
    a, b, c, d, e, f = (S[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    cofactors = first, second, third, second, a * f - c * c, b * c - a * e, third, b * c - a * e, a * d - b * b
    return rearrange(np.stack(cofactors, -1) / (a * first + b * second + c * third)[..., None], "... (i j) -> ... i j", i=3)


def mean(x: Array, radius: float) -> Array:
    """Over a Gaussian window about as wide as a box of this radius."""
    return gaussian(x, max(0.58 * radius, 0.5))


def gaussian(x: Array, sigma: float) -> Array:
    """x: (h, w, …) → the same, blurred over both sides; a wide one on a smaller picture."""
    cv2 = opencv()

    def blurred(planes: Array) -> Array:
        h, w = planes.shape[:2]
        if (smaller := int(sigma / 6)) <= 1:
            return cv2.GaussianBlur(planes, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        size = max(w // smaller, 1), max(h // smaller, 1)
        small = cv2.GaussianBlur(
            cv2.resize(planes, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / smaller, borderType=cv2.BORDER_REFLECT
        )
        return cv2.resize(small, (w, h))

    planes = x.reshape(*x.shape[:2], -1)
    parts = [blurred(np.ascontiguousarray(planes[..., i : i + 4])) for i in range(0, planes.shape[-1], 4)]
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], -1).reshape(x.shape)


def smoothstep(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def lanczos(plane: Image.Image, rows: slice, size: tuple[int, int]) -> Array:
    """Those rows of a plane (mode F) enlarged to `size`: (rows, width)."""
    scale = plane.height / size[1]
    box = (0, rows.start * scale, plane.width, rows.stop * scale)
    return np.array(plane.resize((size[0], rows.stop - rows.start), Image.Resampling.LANCZOS, box=box))


def linear(planes: Array, rows: slice, size: tuple[int, int]) -> Iterator[list[Array]]:
    """Those rows of planes, (i, j, h, w), enlarged to `size`, bilinear: i times j of (rows, width)."""
    cv2 = opencv()
    height = planes.shape[-2]
    places = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * (height / size[1]) - 0.5).clip(0, height - 1)
    above = places.astype(int)
    share = (places - above)[:, None]
    for line in planes:
        between = (plane[above] * (1 - share) + plane[np.minimum(above + 1, height - 1)] * share for plane in line)
        yield [cv2.resize(plane, (size[0], len(places)), interpolation=cv2.INTER_LINEAR) for plane in between]


def opencv(missing: str = MISSING) -> ModuleType:
    """cv2. missing: the sentence where it is not installed."""
    try:
        import cv2
    except ImportError as e:
        raise EditError(missing) from e
    return cv2
