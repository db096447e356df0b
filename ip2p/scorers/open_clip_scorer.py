"""CLIP through open_clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from ..errors import EditError
from .clip_scorer import Clip
from .scorer import Scorer
from .vectors import encoded_in_batches


class OpenClip(Scorer):
    """place: model and weights, “ViT-L-14/openai”. Raises EditError when they can't be loaded, ImportError without open_clip."""

    note, key = Clip.note, Clip.key

    def __init__(self, place: str, device: torch.device):
        try:
            import open_clip
        except ImportError as e:
            raise ImportError("This scorer needs open_clip: pip install open_clip_torch") from e
        model, _, weights = place.partition("/")
        if not weights:
            raise EditError("open_clip needs its model and its weights: --scorer open_clip=ViT-L-14/openai.")
        try:
            self.model, _, self.prepare = open_clip.create_model_and_transforms(model, pretrained=weights, device=device)
        except Exception as e:  # no such model, no network, a damaged file: every backend raises its own
            raise EditError(f"open_clip can't load {place}: {str(e).partition(chr(10))[0][:200]}.") from e
        self.model.eval()
        self.name, self.device, self.tokenize = f"CLIP (open_clip {place})", device, open_clip.get_tokenizer(model)

    @torch.inference_mode()
    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        def encode(part: Sequence[Image.Image]) -> torch.Tensor:
            return self.model.encode_image(torch.stack([self.prepare(image) for image in part]).to(self.device))

        vectors = encoded_in_batches(images, encode)
        return vectors, vectors

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return encoded_in_batches(texts, lambda part: self.model.encode_text(self.tokenize(list(part)).to(self.device)))
