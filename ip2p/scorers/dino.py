"""DINO and DINOv2 (Caron et al., arXiv 2104.14294; Oquab et al., arXiv 2304.07193) through transformers: how alike two pictures are."""

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

HUB = "facebook/dinov2-small"
KINDS = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
SIDE = 224


class Dino(Scorer):
    """place: a folder, or a name that the hub's cache has. Raises EditError when it can't be read, or is no such network."""

    note = "DINO: pictures alone, by what they show and how it is laid out. It reads no text."
    reads_text, key = False, "dino"

    def __init__(self, place: str, device: torch.device):
        from transformers import AutoConfig, AutoModel

        try:
            kind = AutoConfig.from_pretrained(place, local_files_only=True).model_type
            if kind not in KINDS:
                raise EditError(f"{place} is a network of the kind {kind[:40]}, not DINO's: {', '.join(KINDS)}.")
            load: Any = AutoModel.from_pretrained
            self.model = load(place, local_files_only=True, use_safetensors=True).to(device).eval()
        except EditError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
            raise EditError(
                f"DINO can't be read from {place}: name a folder with its weights by --scorer dino=FOLDER, or leave it out."
            ) from e
        self.name, self.version, self.device = f"DINO ({Path(place).name})", fingerprint_of(place), device

    @torch.inference_mode()
    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, None]:
        """The first token's vector of the last layer."""

        def encode(part: Sequence[Image.Image]) -> torch.Tensor:
            pixels = normalised([centre_square(image, SIDE) for image in part], MEAN, STD).to(self.device)
            return self.model(
                pixels, **({"interpolate_pos_encoding": True} if self.model.config.model_type == "vit" else {})
            ).last_hidden_state[:, 0]

        return encoded_in_batches(images, encode), None
