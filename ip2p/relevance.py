"""Where an instruction acts on a picture, by how far its text moves the network's prediction for the noised picture.

Mirzaei et al., "Watch Your Steps: Local Image and Scene Editing by Text Instructions" (ECCV 2024): |full − image| on the picture itself
under much noise, outliers clipped, brought to [0, 1]. Ours beside it: several noises at several levels; the outlines of the picture, by the
guided filter (He, Sun and Tang, TPAMI 2013); a threshold for every map (Otsu, 1979); and a background is all that an edit of the subject
leaves alone, because an edit of the background itself moves the prediction unevenly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch.nn.functional import avg_pool2d, interpolate

from .passes import Network, Rows, Runner, Text

LEVELS = 0.8, 0.85, 0.9, 0.95  # shares of the noise levels, 1 is pure noise; a noise for each
SUBJECT = "make the subject red"
NAMES_BACKGROUND = re.compile(r"\b(background|backdrop|behind|surroundings)\b", re.IGNORECASE)
SIDE, RADIUS, RIDGE = 256, 32, 1e-3  # of the guided filter: longest side in pixels, radius of its window, and what its variances get added
BINS = 256
SURE = 1.2  # of Otsu's threshold, of what an edit of the subject leaves alone: only what is surely the subject is none of the background
SOFT = 0.2  # width of the step from nothing to all, of levels in [0, 1]


def question_for(instruction: str) -> tuple[str, bool]:
    """(The instruction that the network is asked for, whether the region is what that one leaves alone.)"""
    return (SUBJECT, True) if NAMES_BACKGROUND.search(instruction) else (instruction, False)


def relevance(
    network: Network,
    source: torch.Tensor,
    picture: torch.Tensor,
    text: Text,
    negative: Text,
    alphas_cumprod: torch.Tensor,
    seed: int = 0,
    runner: Runner | None = None,
) -> torch.Tensor:
    """How far the text moves the prediction at every place, (h, w) in [0, 1], from two rows of the network for each of LEVELS.

    network(latent, timestep, picture, text) → its prediction, ε or v; source: (4, h, w), the picture's latent, scaled; picture: (4, h, w),
    the image condition, unscaled; text, negative: (tokens, width) of the instruction and of what stands for none; alphas_cumprod: of every
    timestep. Everything follows from `seed`.
    """
    steps = [round(level * (len(alphas_cumprod) - 1)) for level in LEVELS]
    kept = alphas_cumprod[steps].to(source)[:, None, None, None]
    noise = torch.randn((len(steps), *source.shape), generator=torch.Generator().manual_seed(seed)).to(source)
    noised = kept.sqrt() * source + (1 - kept).sqrt() * noise
    rows = Rows(
        latent=torch.cat([noised, noised]),
        level=torch.tensor(steps * 2, device=source.device),
        picture=picture.expand(2 * len(steps), *picture.shape),
        text=[text] * len(steps) + [negative] * len(steps),
        of_picture=[(i, len(steps) + i) for i in range(len(steps))],
    )
    full, image = (runner or Runner()).run(network, rows, range(2 * len(steps))).float().chunk(2)
    return torch.stack([without_outliers(difference) for difference in (full - image).abs().mean(1)]).mean(0)


def without_outliers(levels: torch.Tensor) -> torch.Tensor:
    """levels: (h, w), any range → [0, 1], what lies above Q3 + 1.5·IQR cut off; 0 where all are equal."""
    first, third = torch.quantile(levels.flatten(), torch.tensor((0.25, 0.75)).to(levels))
    return stretched(levels.clamp(max=third + 1.5 * (third - first)))


def stretched(levels: torch.Tensor) -> torch.Tensor:
    """(h, w) → [0, 1], from its lowest to its highest; 0 where all are equal."""
    low, high = levels.aminmax()
    return (levels - low) / (high - low).clamp(min=1e-12)


def along_outlines(levels: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """The levels with the picture's outlines: near any place they become an affine map of its colours, fitted small, applied large.

    levels: (h, w); picture: (3, H, W) in [0, 1], of any size → (H, W) in [0, 1].
    """
    scale = min(SIDE / max(picture.shape[1:]), 1)
    size = [max(round(side * scale), 1) for side in picture.shape[1:]]
    small, sparse = resized(picture, size), resized(levels[None], size)
    colour, level = window(small), window(sparse)
    covariance = window(small * sparse) - colour * level
    variances = window((small[:, None] * small[None]).flatten(0, 1)).unflatten(0, (3, 3)) - colour[:, None] * colour[None]
    variances = variances.permute(2, 3, 0, 1) + RIDGE * torch.eye(3).to(small)
    slope = torch.linalg.solve(variances, covariance.permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
    offset = level - (slope * colour).sum(0, keepdim=True)
    slope, offset = (resized(window(part), picture.shape[1:]) for part in (slope, offset))
    return stretched((slope * picture).sum(0) + offset[0])


def window(planes: torch.Tensor) -> torch.Tensor:
    """(n, h, w) → the mean over a square round every pixel, as far as the picture goes."""
    for side in ((2 * RADIUS + 1, 1), (1, 2 * RADIUS + 1)):
        planes = avg_pool2d(planes[None], side, 1, (side[0] // 2, side[1] // 2), count_include_pad=False)[0]
    return planes


def resized(planes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(n, h, w) → (n, *size), bilinear."""
    return interpolate(planes[None], size=tuple(size), mode="bilinear", antialias=True)[0]


def centred(levels: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """levels: in [0, 1] → the same with a share of Otsu's threshold, at most .9, at .5."""
    threshold = min(share * otsu(levels), 0.9)
    return torch.where(levels < threshold, levels * (0.5 / threshold), 1 - (1 - levels) * (0.5 / (1 - threshold)))


def otsu(levels: torch.Tensor) -> float:
    """The threshold in (0, 1) that parts the levels into the two most different classes (Otsu, 1979)."""
    counts = torch.histc(levels.float().cpu(), BINS, 0, 1).double()
    centres = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    below, moment = counts.cumsum(0) / counts.sum(), (counts * centres).cumsum(0) / counts.sum()
    between = (moment[-1] * below - moment) ** 2 / (below * (1 - below)).clamp(min=1e-12)
    return float(centres[between.argmax()]) + 0.5 / BINS


def region_levels(levels: torch.Tensor) -> torch.Tensor:
    """Levels as `centred` gives them → how far each pixel belongs to the region at the threshold .5, in [0, 1]."""
    return ((levels - 0.5) / SOFT + 0.5).clamp(0, 1)
