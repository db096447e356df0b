"""Pictures as the networks take and give them: tensors in [-1, 1], levels in [0, 255], masks as latents."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image


def to_tensor(picture: Image.Image | np.ndarray) -> torch.Tensor:
    """An RGB picture, or its levels (h, w, 3) in [0, 255] → (3, h, w) in [-1, 1], float32."""
    return rearrange(torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1), "h w c -> c h w")


def to_levels(pixels: torch.Tensor) -> np.ndarray:
    """pixels: (3, h, w), about [-1, 1], on any device → (h, w, 3) in [0, 255], float32: rounded by `to_picture`, not before."""
    return rearrange((pixels.float() + 1) * 127.5, "c h w -> h w c").clamp(0, 255).cpu().numpy()


def to_picture(levels: np.ndarray) -> Image.Image:
    """levels: (h, w, 3) in [0, 255] → an RGB picture, each level rounded."""
    return Image.fromarray((levels + 0.5).astype(np.uint8))


def latent_mask(mask: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """mask: in mode L, at working size; size: (h, w) of the latent → (1, h, w), 1 where a latent is edited.

    Every latent that an edited pixel touches is edited; the exact outline is kept when the picture is finished.
    """
    edited = torch.from_numpy(np.asarray(mask, dtype=np.float32) > 0).float()
    return torch.nn.functional.adaptive_max_pool2d(rearrange(edited, "h w -> 1 h w"), size)


def latent_share(mask: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """mask: in mode L, at working size; size: (h, w) of the latent → (h, w) in [0, 1], how much of each latent's place is edited."""
    levels = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return torch.nn.functional.adaptive_avg_pool2d(levels[None], size)[0]
