"""Faces and what is on and around them, from a map of labels that a face parser draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

Array = np.ndarray

# Classes of CelebAMask-HQ (Lee et al., MaskGAN, arXiv 1907.11922), in its order: 0 is the background.
SKIN, NOSE, GLASSES, LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, LEFT_EAR, RIGHT_EAR = range(1, 10)
MOUTH, UPPER_LIP, LOWER_LIP, HAIR, HAT, EARRING, NECKLACE, NECK, CLOTHES = range(10, 19)
INNER = (SKIN, NOSE, GLASSES, LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, MOUTH, UPPER_LIP, LOWER_LIP)
LABELS = {
    "face": INNER,
    "skin": (SKIN, NOSE, LEFT_EAR, RIGHT_EAR),
    "eyes": (LEFT_EYE, RIGHT_EYE),
    "brows": (LEFT_BROW, RIGHT_BROW),
    "lips": (UPPER_LIP, LOWER_LIP),
    "beard": (SKIN,),  # below the nose
    "hair": (HAIR,),
    "glasses": (GLASSES,),
    "hat": (HAT,),
    "neck": (NECK, NECKLACE),
    "clothes": (CLOTHES,),
}
# What a person does not wear yet is put where it would be.
INSTEAD = {"glasses": (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW), "hat": (HAIR,)}


class Parser(Protocol):
    """Draws maps of labels."""

    def missing(self) -> str:
        """Why it can't here, a sentence that says what to do; nothing where it can. Loads nothing."""

    def label_maps(self, image: Array) -> list[Array]:
        """image: (h, w, 3) float32 in [0, 1] → of every face the label of every pixel of the picture, (h, w) whole numbers."""


class ParsedFaces:
    """The provider of everything that a parser labels."""

    names: Sequence[str] = tuple(LABELS)

    def __init__(self, parser: Parser):
        self.parser = parser

    def missing(self, name: str) -> str:
        return self.parser.missing()

    def masks(self, image: Array, name: str) -> list[Array]:
        """One mask a face; for glasses and a hat that nobody wears the place where they would be."""
        return [mask_of_labels(labels, name) for labels in self.parser.label_maps(image)]


def mask_of_labels(labels: Array, name: str) -> Array:
    """labels: (h, w) → (h, w) of 0 and 1, of one of LABELS."""
    mask = np.isin(labels, LABELS[name])
    if not mask.any() and name in INSTEAD:
        mask = np.isin(labels, INSTEAD[name])
    if name == "beard":
        mask &= below(np.isin(labels, (NOSE,)))
    return mask.astype(np.float32)


def below(part: Array) -> Array:
    """part: (h, w) → the rows under its lowest pixel, (h, 1)."""
    rows = np.flatnonzero(part.any(1))
    return (np.arange(len(part)) > (rows[-1] if len(rows) else len(part)))[:, None]
