"""Classifier-free guidance for two conditions: a picture and a text.

InstructPix2Pix (Brooks, Holynski and Efros, arXiv 2211.09800), equation 3, with e(z, c_I, c_T) for the UNet's prediction:

    ê = e(z, 0, 0) + s_I·(e(z, c_I, 0) − e(z, 0, 0)) + s_T·(e(z, c_I, c_T) − e(z, c_I, 0))

Three passes: `uncond` = e(z, 0, 0), `image` = e(z, c_I, 0) and `full` = e(z, c_I, c_T); two scales: `image_scale` = s_I and
`text_scale` = s_T. Collected by pass, the equation is a weighted sum whose weights add up to one:

    ê = uncond·(1 − s_I) + image·(s_I − s_T) + full·s_T

Because they add up to one, it holds for any prediction that is affine in ε: ε itself, x0 and v.
A scale may differ from place to place: a map (h, w) in place of a number, and so are its passes' weights.
A pass whose weight is zero everywhere is never run, and passes with equal inputs are merged before that is decided (`passes.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch

PASSES = ("full", "image", "uncond")
Scale = float | torch.Tensor  # everywhere the same, or (h, w), at every place of the latent


@dataclass(frozen=True)
class Interval:
    """The share of the noise levels in which a guidance acts: 0 is pure noise (timestep T − 1), 1 is the picture (timestep 0).

    Raises ValueError unless 0 ≤ start ≤ end ≤ 1. After "Applying Guidance in a Limited Interval" (Kynkäänniemi et al.,
    arXiv 2404.07724).
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(f"a guidance acts from a start to a later end, both between 0 and 1, not from {self.start} to {self.end}")

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.end == 1

    def __contains__(self, progress: float) -> bool:
        return self.start <= progress <= self.end


@dataclass(frozen=True)
class Cadence:
    """How often a pass runs: at the first call of the denoiser that needs it, and then at every so-manieth. `full` runs at every call.

    In between, what the pass differs by from the one before it, full − image or image − uncond, is held as it was last seen, in ε
    (`passes.HeldPasses`). With 1 and 1 all is exact. Raises ValueError for less than 1.
    """

    image: int = 1
    uncond: int = 1

    def __post_init__(self):
        if min(self.image, self.uncond) < 1:
            raise ValueError(f"a pass runs at every call or at every so-manieth, not at every {self.image} and {self.uncond}")

    @property
    def exact(self) -> bool:
        return self.image == self.uncond == 1

    def between(self, fuller: int, plainer: int) -> int:
        """Every how many calls the difference of two passes is to be seen anew, by their places in `PASSES`: as often as the quickest of
        the differences that it is made of."""
        return min((1, self.image, self.uncond)[fuller + 1 : plainer + 1])


FAST = Cadence(image=2, uncond=4)


@dataclass(frozen=True, eq=False)
class Scope:
    """Where the guidance acts in full. inside: (h, w) in [0, 1]; where it is 0, the text scale is another, and the image scale raised by a
    factor; between them in proportion.

    After Attention-Scoped Guidance (arXiv 2609.37492): outside the text holds without emphasis, and the picture with more of it.
    """

    inside: torch.Tensor
    text_scale: float = 1.0
    raised: float = 4 / 3

    def scoped(self, text_scale: float, image_scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Both scales as maps, in float64: rounded once, as numbers are, when they meet a prediction."""
        inside = self.inside.double()
        outside = 1 - inside
        return self.text_scale * outside + text_scale * inside, self.raised * image_scale * outside + image_scale * inside


@dataclass(frozen=True)
class Guidance:
    """Both scales, when each acts and where, and how often its passes run. Outside its interval a guidance's scale is 1: the condition
    holds, without emphasis.

    Raises ValueError when a scale is not a finite number.
    """

    text_scale: float = 7.5
    image_scale: float = 1.5
    text_interval: Interval = field(default_factory=Interval)
    image_interval: Interval = field(default_factory=Interval)
    scope: Scope | None = None
    cadence: Cadence = field(default_factory=Cadence)

    def __post_init__(self):
        for name in ("text_scale", "image_scale"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, not {getattr(self, name)}")

    @property
    def scheduled(self) -> bool:
        return not (self.text_interval.whole and self.image_interval.whole)

    def at(self, progress: float) -> tuple[Scale, Scale]:
        """(text_scale, image_scale) at `progress` in [0, 1], as `progress_at` gives it."""
        text, image = self.text_scale, self.image_scale
        scoped = self.scope.scoped(text, image) if self.scope else (text, image)
        return (
            scoped[0] if progress in self.text_interval else 1.0,
            scoped[1] if progress in self.image_interval else 1.0,
        )


def progress_at(timestep: float, timesteps: int = 1000) -> float:
    """Share of the noise levels left behind at `timestep` in [0, timesteps − 1]; clamped to [0, 1]."""
    return min(max(1 - timestep / (timesteps - 1), 0.0), 1.0)


def pass_weights(text_scale: Scale, image_scale: Scale, prompt_weights: Sequence[float] = (1.0,)) -> list[Scale]:
    """Weights of the passes `[full_1, …, full_n, image, uncond]`, numbers or maps as the scales are; they add up to one.

    Equation 3 with n sub-prompts f_k of weight w_k (composable diffusion, Liu et al., arXiv 2206.01714, equation 11):

        ê = uncond + s_I·(image − uncond) + s_T·Σ w_k·(full_k − image)
    """
    full = [text_scale * w for w in prompt_weights]
    return [*full, image_scale - sum(full), 1 - image_scale]


def combine(predictions: Sequence[torch.Tensor], weights: Sequence[Scale]) -> torch.Tensor:
    """Equation 3: the weighted sum of the predictions of one picture's passes. predictions: (…, h, w) each, of any parameterisation
    affine in ε; weights: theirs, adding up to one at every place."""
    return reduce(torch.add, (weighted(prediction, weight) for prediction, weight in zip(predictions, weights)))


def weighted(prediction: torch.Tensor, weight: Scale) -> torch.Tensor:
    """A map weighs as a number does: at least in float32, in which the product of half precision and a number is made."""
    if isinstance(weight, torch.Tensor):
        precision = torch.promote_types(prediction.dtype, torch.float32)
        return (prediction * weight.to(precision).to(prediction.device)).to(prediction.dtype)
    return prediction * weight
