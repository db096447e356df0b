"""Wrong pairs made of right ones: what a filter has to leave out, whatever the pictures show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops, ImageStat

from ..pairs import Pair

RIGHT = "right"
SHIFT, ZOOM = (0.12, 0.3), (0.55, 0.8)  # shares of a side: how far, and how much of the picture is left
SAME = 2.0  # levels, of a mean difference below which two pictures are one
CANDIDATES = 20  # other rows that are looked at for one


@dataclass(frozen=True)
class Made:
    """kind: RIGHT, or what is wrong with it."""

    pair: Pair
    kind: str


def made_of(pairs: Sequence[Pair], n: int, seed: int) -> Iterator[Made]:
    """Pair n, and wrong ones made of it and of others. One that would be right after all, as a symmetrical picture mirrored, is left out."""
    pair = pairs[n]
    yield Made(pair, RIGHT)
    rng = np.random.default_rng([seed, n])
    after = pair.edited_image
    if not alike(pair.original_image, after):
        yield Made(replace(pair, edited_image=pair.original_image), "unchanged")
    for kind, moved in (
        ("shifted", shifted(after, rng)),
        ("mirrored", after.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        ("zoomed", zoomed(after, rng)),
    ):
        if not alike(after, moved):
            yield Made(replace(pair, edited_image=moved), kind)
    others = [one for one in drawn(pairs, rng) if asks_for_another(one, pair)]
    same = [alike(one.original_image, pair.original_image) for one in others]
    if others:
        # What tells a picture of the same photograph apart is the words alone; pictures of another one are wrong whatever their edit.
        near, far = (others[same.index(which)] if which in same else others[0] for which in (True, False))
        yield Made(replace(pair, edited_image=near.edited_image.resize(after.size, Image.Resampling.BICUBIC)), "another row's picture")
        yield Made(
            replace(far, original_prompt=pair.original_prompt, edited_prompt=pair.edited_prompt, edit_prompts=pair.edit_prompts),
            "another row's edit",
        )


def drawn(pairs: Sequence[Pair], rng: np.random.Generator) -> Iterator[Pair]:
    return (pairs[i] for i in rng.permutation(len(pairs))[:CANDIDATES])


def asks_for_another(one: Pair, pair: Pair) -> bool:
    """Whether it has another instruction, and another picture after."""
    return not set(one.edit_prompts) & set(pair.edit_prompts) and not alike(one.edited_image, pair.edited_image)


def shifted(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """To any side, what comes in being the border mirrored."""
    x, y = (round(float(rng.uniform(*SHIFT)) * side) * int(rng.choice((-1, 1))) for side in picture.size)
    padding = [(max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)]
    wide = np.pad(np.asarray(picture), padding, mode="symmetric")
    top, left = max(-y, 0), max(-x, 0)
    return Image.fromarray(wide[top : top + picture.height, left : left + picture.width])


def zoomed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A part of it as large as the whole."""
    share = float(rng.uniform(*ZOOM))
    width, height = (max(round(side * share), 1) for side in picture.size)
    left, top = (int(rng.integers(whole - part + 1)) for whole, part in ((picture.width, width), (picture.height, height)))
    return picture.resize(picture.size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))


def alike(a: Image.Image, b: Image.Image) -> bool:
    if a.size != b.size:
        return False
    return float(np.mean(ImageStat.Stat(ImageChops.difference(a, b)).mean)) < SAME
