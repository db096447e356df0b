"""The baseline of the paper's figure: SDEdit (Meng et al., arXiv 2108.01073), plain image-to-image with a text-to-image model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..edit import Edit
from ..errors import EditError

CHANNELS = 4


@dataclass(frozen=True)
class Result:
    image: Image.Image


class SDEdit:
    """diffusers' own `StableDiffusionImg2ImgPipeline` behind `sweep.Maker`: a picture is noised to `denoising_strength` and denoised with the instruction as
    its prompt, which should be the caption of the picture wanted."""

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, model: str, device: torch.device, dtype: torch.dtype) -> SDEdit:
        """model: a diffusers folder of a text-to-image model, or its name on the hub. Raises EditError."""
        from diffusers import StableDiffusionImg2ImgPipeline

        from ..checkpoints.load import load_networks
        from ..editor import SAMPLERS, TRAINED

        networks = load_networks(model)
        name, prediction_type, unet = networks.pop("name"), networks.pop("prediction_type"), networks["unet"]
        if unet.config.in_channels != CHANNELS:
            raise EditError(
                f"“{name}” can't do SDEdit: its network has {unet.config.in_channels} input channels; name a text-to-image model, which has 4."
            )
        sampler: Any = SAMPLERS["Euler a"]
        kind, options = sampler
        schedule: dict[str, Any] = {**TRAINED, **options}
        scheduler = kind(**schedule, prediction_type=prediction_type, timestep_spacing="linspace", steps_offset=1)
        for part in ("unet", "vae", "text_encoder"):
            torch.nn.Module.to(networks[part], device, dtype)  # as in `Editor.to`
        pipeline = StableDiffusionImg2ImgPipeline(
            **networks, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
        return cls(pipeline)

    def edit(self, edits: Sequence[Edit], *, batch_size: int = 16) -> list[Result]:
        """Raises EditError when strength and steps leave no step to take."""
        groups: dict[tuple, list[int]] = {}
        for i, edit in enumerate(edits):
            if int(edit.steps * edit.denoising_strength) < 1:
                raise EditError(f"SDEdit takes no step at {edit.steps} steps and strength {edit.denoising_strength:g}: choose more.")
            groups.setdefault((edit.image.size, edit.steps, edit.text_scale, edit.denoising_strength), []).append(i)
        results: dict[int, Result] = {}
        for (_, steps, text_scale, strength), places in groups.items():
            for start in range(0, len(places), batch_size):
                part = places[start : start + batch_size]
                output = self.pipeline(
                    prompt=[edits[i].instruction for i in part],
                    image=[edits[i].image for i in part],
                    strength=strength,
                    guidance_scale=text_scale,
                    num_inference_steps=steps,
                    generator=[torch.Generator().manual_seed(edits[i].seed) for i in part],
                )
                results.update(zip(part, map(Result, output.images)))
        return [results[i] for i in range(len(edits))]
