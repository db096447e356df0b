"""Both scales as an input of the network, in place of two of the three passes: how a student of equation 3 is told them.

A distilled edit model (`train`, stage `kind: distill`) predicts ê of `guidance` in one pass. It is told the scales as sinusoids, through a matrix
P, added to those of the timestep before the time embedding's first layer W₁, where diffusers has `time_cond_proj_dim` (Meng et al.,
arXiv 2210.03142, section 3.1; Luo et al., arXiv 2310.04378, section 4.1):

    W₁·(t + P·w) + b₁ = W₁·t + (b₁ + W₁·P·w)

So for fixed scales it is a bias, and its file is a plain edit checkpoint with its usual scales baked into b₁. Other scales are a difference from
that, which is linear in the features: `shift`.
"""

from __future__ import annotations

import torch

FEATURES = 256  # 128 of each scale
KEY = "instruct_edit.scales.weight"  # of P in a file, which loaders of checkpoints ignore
FASTEST, SLOWEST = 4.0, 0.004  # angular frequencies of a scale's sinusoids, per unit of the scale


def scale_features(text_scale: torch.Tensor, image_scale: torch.Tensor) -> torch.Tensor:
    """w: both scales, (b,) each → (b, 256), in float32: cosines and sines of the text scale, then of the image scale."""
    frequencies = torch.logspace(0, 1, FEATURES // 4, base=SLOWEST / FASTEST, device=text_scale.device) * FASTEST
    angles = [scale.float()[:, None] * frequencies for scale in (text_scale, image_scale)]
    return torch.cat([part for angle in angles for part in (angle.cos(), angle.sin())], 1)


def shift(
    projection: torch.Tensor, first_weight: torch.Tensor, asked: tuple[torch.Tensor, torch.Tensor], baked: tuple[float, float]
) -> torch.Tensor:
    """W₁·P·(w − w′): what the first layer's output lacks at the scales `asked` when those `baked` are in its bias.

    projection: P, (c, 256); first_weight: W₁, (4c, c); asked: text and image scale, (b,) each → (b, 4c), in float32.
    """
    usual = [torch.full_like(scale, scale_baked, dtype=torch.float32) for scale, scale_baked in zip(asked, baked)]
    difference = scale_features(*asked) - scale_features(*usual)
    return difference @ projection.float().T @ first_weight.float().T
