"""Synthetic scenes as pictures with captions, without edits: what a text-to-image model and a scorer are trained on."""

from __future__ import annotations

from functools import cached_property
from itertools import islice

import numpy as np
from PIL import Image

from .description import Description
from .drawer import Drawing
from .grammar import captions


class CaptionedScenes:
    """`count` pictures, each with a caption of its own."""

    name = "captioned_scenes"

    def __init__(self, count: int, seed: int = 0):
        self.count, self.seed = count, seed
        self.fingerprint = f"captioned scenes {count} {seed}"

    def __len__(self) -> int:
        return self.count

    @cached_property
    def said(self) -> list[tuple[Description, str]]:
        return [(said, caption) for said, _, caption in islice(captions(self.seed), self.count)]

    def picture(self, i: int) -> Image.Image:
        return Drawing.of(self.said[i][0], np.random.default_rng([self.seed, i, 2])).picture()

    def caption(self, i: int) -> str:
        return self.said[i][1]
