"""What the editor is given to do and what it gives back: one `Job` for every result, with what the results of an edit share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..edit import Edit
from ..guidance import Guidance


class Interrupted(Exception):
    """The callback stopped the edit. `results`: those that were finished before."""

    def __init__(self, results: list[Result]):
        super().__init__("The edit was stopped.")
        self.results = results


@dataclass(frozen=True)
class Result:
    """One edited picture, and what made it. heat_map: where the instruction acts, if asked for; levels: (h, w, 3) in [0, 255], what the
    network made, the whole of its working size, from which `image` was finished."""

    image: Image.Image
    seed: int
    text_scale: float
    image_scale: float
    infotext: str
    levels: np.ndarray
    heat_map: Image.Image | None = None


@dataclass
class EditContext:
    """What all results of one edit share. picture, mask: as the network is given them; condition: (4, h, w), the posterior's mode, unscaled;
    latent_mask: (1, h, w), 1 where a latent is edited; text, negative: (tokens, width); decoded: the picture's
    levels through the autoencoder alone, (h, w, 3), and heat_map: where the instruction acts on it, once they were asked for."""

    edit: Edit
    picture: Image.Image
    mask: Image.Image | None
    condition: torch.Tensor
    latent_mask: torch.Tensor | None
    text: torch.Tensor
    negative: torch.Tensor
    decoded: np.ndarray | None = None
    heat_map: Image.Image | None = None


@dataclass(frozen=True)
class Job:
    """One result of a line to make. index: its place among those of all edits; edit: the place of its edit."""

    index: int
    edit: int
    context: EditContext
    seed: int
    guidance: Guidance
    noise: torch.Tensor | None  # (4, h, w)
