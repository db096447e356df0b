"""A picture's latent, by the host's autoencoder."""

from __future__ import annotations

import torch
from PIL import Image

from modules import devices, shared

from ..pixels import to_tensor


def encoded(sd_model, picture: Image.Image) -> torch.Tensor:
    """An RGB picture with sides of multiples of 8 → (1, 4, h, w), the posterior's mode, unscaled, as the sampler takes it."""
    pixels = to_tensor(picture)[None]
    return posterior_mode(sd_model, pixels.to(shared.device, devices.dtype_vae)).to(shared.device, devices.dtype)


def posterior_mode(sd_model, pixels: torch.Tensor) -> torch.Tensor:
    """pixels: (b, 3, h, w) in [-1, 1] → (b, 4, h/8, w/8), the mode of the VAE's posterior, unscaled.

    SD 1.x and 2.x give the posterior; SDXL's wrapper samples and scales it, so there sampling is made to mean the mode.
    """
    if not getattr(sd_model, "is_sdxl", False):
        return sd_model.encode_first_stage(pixels).mode()
    from sgm.modules.distributions.distributions import DiagonalGaussianDistribution

    sample = DiagonalGaussianDistribution.sample
    DiagonalGaussianDistribution.sample = DiagonalGaussianDistribution.mode
    try:
        return sd_model.encode_first_stage(pixels) / sd_model.scale_factor
    finally:
        DiagonalGaussianDistribution.sample = sample
