"""What a scorer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from PIL import Image

from ..errors import EditError

INSTALL = "pip install 'sd-webui-instruct-edit[evaluate]'"


class Scorer(ABC):
    """Pictures and texts as vectors of length 1. `name` and `note` go into the report: what the scores are, and what they can't see.

    reads_text: whether it has `texts`, and pictures in their space. key: what the names of its scores begin with. version: of its weights.
    """

    name: str
    note: str
    key: str
    version: str = ""
    reads_text = True

    @abstractmethod
    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """→ (n, width) for the similarity of pictures, and (n, width) in the space of `texts` where it reads text."""

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """→ (n, width). Raises EditError where it reads no text."""
        raise EditError(f"The scorer {self.name} reads no text.")
