"""Perceptual distance by five layers of EfficientNet-lite0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from .efficientnet import Lite0
from .vectors import AT_ONCE


class Perceptual:
    """LPIPS's form (Zhang et al., arXiv 1801.03924) without weights learned from people's judgements: it ranks, and its numbers are
    not LPIPS's. Raises ImportError without the network's packages."""

    name = "perceptual distance (EfficientNet-lite0, uncalibrated)"

    def __init__(self, device: torch.device):
        self.network = Lite0.on(device)

    def layers(self, images: Sequence[Image.Image]) -> list[list[torch.Tensor]]:
        """Of every picture its layers (channels, h, w), of length 1 over channels, at the picture's own size."""
        of_picture: dict[int, list[torch.Tensor]] = {}
        for size in dict.fromkeys(image.size for image in images):
            places = [i for i, image in enumerate(images) if image.size == size]
            for start in range(0, len(places), AT_ONCE):
                part = places[start : start + AT_ONCE]
                layers = self.network.layers([images[i] for i in part])
                of_picture.update((i, [layer[n] for layer in layers]) for n, i in enumerate(part))
        return [of_picture[i] for i in range(len(images))]
