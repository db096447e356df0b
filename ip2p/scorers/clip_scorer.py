"""CLIP (Radford et al., arXiv 2103.00020) through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError

from ..checkpoints.fingerprint import fingerprint_of
from ..errors import EditError
from .scorer import Scorer
from .vectors import centre_square, encoded_in_batches, normalised

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of its training pictures, in [0, 1]


class Clip(Scorer):
    """place: a folder or a name on the hub; cached_only: take it from the hub's cache or not at all.

    Pictures go in as [0, 1] before CLIP's own normalisation (upstream's code passes [−1, 1]). Raises EditError when it can't be read.
    """

    note = "CLIP: pictures and captions in one space."
    key = "clip"

    def __init__(self, place: str, device: torch.device, cached_only: bool = False):
        from transformers import CLIPModel, CLIPTokenizer

        local = cached_only or Path(place).is_dir()
        try:
            load: Any = CLIPModel.from_pretrained
            self.model = load(place, local_files_only=local).to(device).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=local)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
            raise EditError(
                f"CLIP can't be read from {place}: name a folder with its weights by --scorer clip=FOLDER, "
                "or take a stand-in, --scorer conse or efficientnet."
            ) from e
        self.name, self.version, self.device = f"CLIP ({Path(place).name})", fingerprint_of(place), device
        self.side = self.model.config.vision_config.image_size

    @torch.inference_mode()
    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        def encode(part: Sequence[Image.Image]) -> torch.Tensor:
            return self.model.visual_projection(self.model.vision_model(self._read(part)).pooler_output)

        vectors = encoded_in_batches(images, encode)
        return vectors, vectors

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        def encode(part: Sequence[str]) -> torch.Tensor:
            tokens = self.tokenizer(list(part), padding=True, truncation=True, return_tensors="pt").to(self.device)
            return self.model.text_projection(self.model.text_model(**tokens).pooler_output)

        return encoded_in_batches(texts, encode)

    def _read(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return normalised([centre_square(image, self.side) for image in images], MEAN, STD).to(self.device)
