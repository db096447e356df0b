"""Both scales as an input of the network, in place of two of the three passes: how a student of equation 3 is told them.

A distilled edit model (`train`, stage `kind: distill`) predicts ê of `guidance` in one pass. It is told the scales as sinusoids, through a matrix
P, added to those of the timestep before the time embedding's first layer W₁, where diffusers has `time_cond_proj_dim` (Meng et al.,
arXiv 2210.03142, section 3.1; Luo et al., arXiv 2310.04378, section 4.1):

    W₁·(t + P·w) + b₁ = W₁·t + (b₁ + W₁·P·w)

So for fixed scales it is a bias, and its file is a plain edit checkpoint with its usual scales baked into b₁. Other scales are a difference from
that, which is linear in the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .errors import EditError

FEATURES = 256  # 128 of each scale
KEY = "instruct_edit.scales.weight"  # of P in a file, which loaders of checkpoints ignore
FASTEST, SLOWEST = 4.0, 0.004  # angular frequencies of a scale's sinusoids, per unit of the scale


def scale_features(text_scale: torch.Tensor, image_scale: torch.Tensor) -> torch.Tensor:
    """w: both scales, (b,) each → (b, 256), in float32: cosines and sines of the text scale, then of the image scale."""
    frequencies = torch.logspace(0, 1, FEATURES // 4, base=SLOWEST / FASTEST, device=text_scale.device) * FASTEST
    angles = [scale.float()[:, None] * frequencies for scale in (text_scale, image_scale)]
    return torch.cat([part for angle in angles for part in (angle.cos(), angle.sin())], 1)


def difference(asked: torch.Tensor, baked: tuple[float, float]) -> torch.Tensor:
    """w − w′, (b, 256) in float32: zero at the scales that are baked. asked: text and image scale, (b, 2)."""
    return scale_features(*asked.unbind(1)) - scale_features(*torch.tensor([baked], device=asked.device).unbind(1))


def shift(projection: torch.Tensor, first_weight: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """W₁·P·w, or W₁·P·(w − w′): what the first layer's output, or its bias, lacks.

    projection: P, (c, 256); first_weight: W₁, (4c, c); features: (b, 256) → (b, 4c), in float32.
    """
    return features @ projection.float().T @ first_weight.float().T


@dataclass(frozen=True, eq=False)
class ScaleInput:
    """How a student whose network lacks this input is told other scales than its own. projection: P, (c, 256); baked: its own text and image scale."""

    projection: torch.Tensor
    baked: tuple[float, float]

    @contextmanager
    def told(self, first_layer: torch.nn.Linear, scales: torch.Tensor) -> Iterator[None]:
        """Within the block the time embedding's first layer says these scales too. scales: text and image scale, (rows, 2), of the rows that the
        network is given; where they are all the same it may be given any number of rows, as by who cuts them into tiles."""
        scales = scales[:1] if bool((scales == scales[:1]).all()) else scales

        def add(layer: torch.nn.Linear, inputs: object, output: torch.Tensor) -> torch.Tensor:
            # The weights only now: a host may bring them to the GPU for the time of a call.
            weight = layer.weight.to(output.device)
            features = difference(scales.to(output.device), self.baked)
            return output + shift(self.projection.to(output.device), weight, features).to(output.dtype)

        hook = first_layer.register_forward_hook(add)
        try:
            yield
        finally:
            hook.remove()


def in_one_pass(text_scale: float, image_scale: float, prompt_weights: Sequence[float] = (1.0,)) -> tuple[list[float], tuple[float, float]]:
    """Of one picture: (the weights of a student's passes as `guidance.pass_weights` orders them, the scales that it is told).

    Its prediction for a sub-prompt of weight w_k is guided already: uncond + s_T·(full_k − image) + s_I·(image − uncond). With W = Σ w_k,
    these by the weights w_k / W at the text scale W·s_T are equation 3 of all sub-prompts. Raises EditError unless W is above 0.
    """
    total = sum(prompt_weights)
    if total < 1e-6:
        raise EditError(
            "The weights of the instruction's parts add up to nothing, which an edit in one pass can't follow: raise one of them."
        )
    return [*(weight / total for weight in prompt_weights), 0.0, 0.0], (total * text_scale, image_scale)
