"""Pairs of synthetic scenes for the filter, and a scorer that knows colours by name and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import Pair, PairSet
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.dataset.scenes import COLOURS, scene
from ip2p.scorers.scorer import Scorer
from ip2p.scorers.vectors import unit

PALETTE = np.array(list(COLOURS.values()), np.float32)


class ColourWords(Scorer):
    """A stand-in for CLIP: a picture is how much of it has each colour, a caption the colours of its shape and its ground. As a small CLIP
    it sees what a picture is of, and not where."""

    name, note, key, version = "colour words", "Colours alone.", "words", "1"

    def __init__(self) -> None:
        self.looked_at = 0

    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        self.looked_at += len(images)
        vectors = []
        for image in images:
            pixels = np.asarray(image.resize((16, 16), Image.Resampling.NEAREST), np.float32).reshape(-1, 1, 3)
            nearest = np.square(pixels - PALETTE).sum(-1).argmin(1)
            vectors.append(np.bincount(nearest, minlength=len(PALETTE)) / len(nearest))
        found = unit(torch.tensor(np.array(vectors)).float())
        return found, found

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        vectors = torch.zeros(len(texts), len(COLOURS))
        for vector, text in zip(vectors, texts):
            for word, weight in zip((word for word in text.split() if word in COLOURS), (0.25, 0.75)):
                vector[list(COLOURS).index(word)] = weight
        return unit(vectors)


def scene_pair(number: int) -> Pair:
    return replace(scene(number).pair(), mask=None)


def scene_set(path: Path, pairs: Sequence[Pair]) -> PairSet:
    write_pairs(pairs, path)
    return open_pairs(path)


def moved(picture: Image.Image, pixels: int = 12) -> Image.Image:
    """To the right, the left border repeated."""
    return Image.fromarray(np.pad(np.asarray(picture), ((0, 0), (pixels, 0), (0, 0)), mode="edge")[:, : picture.width])
