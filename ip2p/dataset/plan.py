"""What is made of a folder of photographs, and which of them are kept from training. Quick to import."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SIZE, HELD_OUT = 256, 0.1
MULTIPLE = 8  # of a side: what the autoencoder makes one latent of
TRAIN, PHOTO = "train", "photo"  # the splits: to train on, and photographs kept from training


@dataclass(frozen=True)
class Plan:
    """What to make of each photograph.

    kinds: names of `KINDS`. size: the shorter side in pixels, a multiple of 8. per_photo: kinds drawn for each photograph, None for all
    that suit it. values: of a kind's parameter, drawn for each photograph. held_out: the share of photographs kept from training;
    hold_out: names of more. licences: of file names, None for no table. seed: of everything drawn.
    """

    kinds: Sequence[str]
    size: int = SIZE
    per_photo: int | None = None
    values: int = 1
    held_out: float = HELD_OUT
    hold_out: frozenset[str] = frozenset()
    licences: Mapping[str, str] | None = None
    seed: int = 0

    def split(self, name: str) -> str:
        """Of the photograph `name`, a file below the folder: it depends on no other photograph."""
        named = {Path(name).stem, Path(name).name} & self.hold_out
        return PHOTO if named or random.Random(f"{self.seed} {name}").random() < self.held_out else TRAIN
