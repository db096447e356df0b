"""Classifier-free guidance for two conditions: a picture and a text.

InstructPix2Pix (Brooks, Holynski and Efros, arXiv 2211.09800), equation 3, with e(z, c_I, c_T) for the UNet's prediction:

    ê = e(z, 0, 0) + s_I·(e(z, c_I, 0) − e(z, 0, 0)) + s_T·(e(z, c_I, c_T) − e(z, c_I, 0))

Three passes: `uncond` = e(z, 0, 0), `image` = e(z, c_I, 0) and `full` = e(z, c_I, c_T); two scales: `image_scale` = s_I and
`text_scale` = s_T. Collected by pass, the equation is a weighted sum whose weights add up to one:

    ê = uncond·(1 − s_I) + image·(s_I − s_T) + full·s_T

Because they add up to one, it holds for any prediction that is affine in ε: ε itself, x0 and v.
A pass whose weight is zero is never run, and passes with equal inputs are merged before that is decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

import torch

PASSES = ("full", "image", "uncond")
NO_WEIGHT = 1e-6  # sums of prompt weights such as 0.1 + 0.2 miss zero by rounding


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
class Guidance:
    """Both scales and when each acts. Outside its interval a guidance's scale is 1: the condition holds, without emphasis.

    Raises ValueError when a scale is not a finite number.
    """

    text_scale: float = 7.5
    image_scale: float = 1.5
    text_interval: Interval = field(default_factory=Interval)
    image_interval: Interval = field(default_factory=Interval)

    def __post_init__(self):
        for name in ("text_scale", "image_scale"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, not {getattr(self, name)}")

    @property
    def scheduled(self) -> bool:
        return not (self.text_interval.whole and self.image_interval.whole)

    def at(self, progress: float) -> tuple[float, float]:
        """(text_scale, image_scale) at `progress` in [0, 1], as `progress_at` gives it."""
        return (
            self.text_scale if progress in self.text_interval else 1.0,
            self.image_scale if progress in self.image_interval else 1.0,
        )


def progress_at(timestep: float, timesteps: int = 1000) -> float:
    """Share of the noise levels left behind at `timestep` in [0, timesteps − 1]; clamped to [0, 1]."""
    return min(max(1 - timestep / (timesteps - 1), 0.0), 1.0)


def pass_weights(text_scale: float, image_scale: float, prompt_weights: Sequence[float] = (1.0,)) -> list[float]:
    """Weights of the passes `[full_1, …, full_n, image, uncond]`; they add up to one.

    Equation 3 with n sub-prompts f_k of weight w_k (composable diffusion, Liu et al., arXiv 2206.01714, equation 11):

        ê = uncond + s_I·(image − uncond) + s_T·Σ w_k·(full_k − image)
    """
    full = [text_scale * w for w in prompt_weights]
    return [*full, image_scale - sum(full), 1 - image_scale]


@dataclass(frozen=True)
class Plan:
    """What to run for a batch whose passes are laid out row by row."""

    rows: tuple[int, ...]  # rows of the layout to run, each once
    terms: tuple[tuple[tuple[int, float], ...], ...]  # of every picture: (position in `rows`, weight)
    stand_in: tuple[int, ...]  # of every row of the layout: position in `rows` of itself, its twin, or its nearest pass

    def combine(self, predictions: torch.Tensor) -> torch.Tensor:
        """predictions: (len(rows), …), of any parameterisation affine in ε → (pictures, …), equation 3."""
        return torch.stack([sum(predictions[i] * weight for i, weight in terms) for terms in self.terms])


def plan_passes(
    weights: Sequence[Sequence[float]],
    rows: Sequence[Sequence[int]],
    equal: Callable[[int, int], bool] = lambda a, b: False,
    always: Container[int] = (),
) -> Plan:
    """Merges passes with equal inputs, then drops those without weight.

    weights: for every picture those of its passes, as `pass_weights` gives them;
    rows: for every picture the row that each of its passes has in the layout;
    equal(a, b): whether two rows of one picture have equal inputs;
    always: rows that run whatever their weight (CFG++ renoises with `uncond` itself).
    """
    pictures, stand_in = [], {}
    for picture_weights, picture_rows in zip(weights, rows):
        merged: dict[int, float] = {}
        twin_of = {}
        # From the plainest condition to the fullest: when both are equal, the text pass becomes the image pass.
        for row, weight in zip(reversed(picture_rows), reversed(picture_weights)):
            twin_of[row] = next((other for other in merged if equal(other, row)), row)
            merged[twin_of[row]] = merged.get(twin_of[row], 0.0) + weight
        kept = {row: w for row, w in merged.items() if abs(w) > NO_WEIGHT or row in always}
        pictures.append(kept)
        for row, twin in twin_of.items():
            stand_in[row] = twin if twin in kept else min(kept, key=lambda other: abs(other - row))
    run = sorted(row for kept in pictures for row in kept)
    position = {row: i for i, row in enumerate(run)}
    return Plan(
        rows=tuple(run),
        terms=tuple(tuple((position[row], w) for row, w in kept.items()) for kept in pictures),
        stand_in=tuple(position[stand_in[row]] for row in sorted(stand_in)),
    )


def passes_needed(text_scale: float, image_scale: float, *, text_is_negative: bool = False) -> tuple[str, ...]:
    """Names of the passes that one picture needs at these scales; `text_is_negative`: the prompt equals the negative prompt."""
    twins = {frozenset((0, 1))} if text_is_negative else set()
    plan = plan_passes([pass_weights(text_scale, image_scale)], [range(3)], lambda a, b: frozenset((a, b)) in twins)
    return tuple(PASSES[row] for row in plan.rows)
