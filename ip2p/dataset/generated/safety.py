"""The safety checker that a text-to-image model of Stable Diffusion's kind has in its folder: which pictures it flags."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from ...errors import EditError
from ...scorers.clip_scorer import MEAN, STD
from ...scorers.vectors import centre_square, normalised

FOLDER = "safety_checker"


def check_has_one(model: str) -> None:
    """model: as `TextToImage.load` takes it. Raises EditError where it lies here without a checker."""
    path = Path(model).expanduser()
    if path.exists() and not (path / FOLDER / "config.json").is_file():
        raise EditError(f"{model} has no safety checker: leave --safety out, or name a diffusers folder that has {FOLDER}/.")


class SafetyChecker:
    """Raises EditError where it can't be read."""

    def __init__(self, model: str, device: str | torch.device | None):
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        check_has_one(model)
        logging.getLogger(StableDiffusionSafetyChecker.__module__).setLevel(logging.ERROR)  # it tells of every picture; they are counted
        place = str(Path(model).expanduser()) if Path(model).expanduser().exists() else model
        try:
            load: Any = StableDiffusionSafetyChecker.from_pretrained
            self.network = load(place, subfolder=FOLDER, use_safetensors=True).eval().to(device)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
            raise EditError(f"The safety checker of {model} can't be read: leave --safety out, or fetch it as safetensors.") from e
        self.device, self.side = device, self.network.config.vision_config.image_size

    @torch.inference_mode()
    def flagged(self, pictures: Sequence[Image.Image]) -> list[bool]:
        pixels = normalised([centre_square(picture, self.side) for picture in pictures], MEAN, STD).to(self.device)
        blackened = np.zeros((len(pictures), 1, 1, 3), np.float32)  # it would black the pictures out, which are left out here
        return [bool(flag) for flag in self.network(clip_input=pixels, images=blackened)[1]]
