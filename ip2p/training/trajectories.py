"""Trajectories of a teacher of three passes, kept on disk: at every point what each pass predicts, apart, and the latent that it ends at.

With f, i and u apart, ê is a sum for every pair of scales (equation 3), so one trajectory teaches all of them. A trajectory is sampled
by DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2), which draws no noise, at scales of its own. It passes the sampling times of
the student of few steps, as the WebUI's LCM sampler makes them with SGM Uniform; of the times between two of them it draws its own, so that
all trajectories together pass every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from einops import rearrange

from ..guidance import PASSES, combine, pass_weights
from .cache import Cache, key_of
from .config import Stage
from .data import crop, crop_generator, generator_of, row_of
from .losses import SCHEDULE
from .networks import Networks, fingerprint, token_ids
from .rows import Rows

TOGETHER = 16  # trajectories that are sampled together
SHARD = 4  # such groups in a file
LEVELS, NOISIEST = 50, 999  # of the LCM sampler: timesteps 19, 39, …, 999


def sampling_times(count: int) -> list[int]:
    """The timesteps of `count` steps by SGM Uniform over the LCM sampler's levels, the noisiest first: 999, 754, 509, 264 of four."""
    lowest = 1000 // LEVELS - 1
    return [round(NOISIEST + (lowest - NOISIEST) * i / count) for i in range(count)]


def told_times(count: int) -> list[tuple[int, ...]]:
    """What the LCM sampler tells the network at the sampling times: the nearest of its levels. Two that are equally near are both given, for
    which is told then is decided by the last bit of a logarithm: 999, 759, 499 or 519, 259 of four."""
    apart = 1000 // LEVELS
    levels = range(apart - 1, 1000, apart)
    times = sampling_times(count)
    return [tuple(level for level in levels if abs(level - time) == min(abs(other - time) for other in levels)) for time in times]


def points_of(stage: Stage, rng: np.random.Generator) -> list[int]:
    """The timesteps of one trajectory, the noisiest first: each sampling time, and one drawn in each equal part of what is between it
    and the next."""
    times = sampling_times(stage.times)
    points = []
    for time, following in zip(times, [*times[1:], -1]):
        edges = np.linspace(time - 1, following, stage.between).round().astype(int).tolist()
        points += [time, *(int(rng.integers(low + 1, high + 1)) for high, low in pairwise(edges))]
    return points


def alphas_and_sigmas(timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """α and σ of z_t = α·x0 + σ·ε at timesteps (b,): (b, 1, 1, 1) each."""
    alphas = rearrange(DDPMScheduler(**SCHEDULE).alphas_cumprod.to(timesteps.device)[timesteps], "b -> b 1 1 1")
    return alphas.sqrt(), (1 - alphas).sqrt()


def sampled(noise: torch.Tensor, timesteps: torch.Tensor, predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The latents at the end of DPM-Solver++(2M): at half log-SNR λ and with h the step to the next, z ← σ'/σ·z + α'·(1 − e^(−h))·D with
    D = x0 + h/(2·h before)·(x0 − x0 before). The first step is of first order, and the last one's x0 is the end.

    noise: (b, 4, h, w); timesteps: (b, points), falling; predict(z, t): ê, (b, 4, h, w), called in the order of the points.
    """
    z = noise
    x0 = step = torch.zeros(())
    for point, t in enumerate(timesteps.unbind(1)):
        alpha, sigma = alphas_and_sigmas(t)
        before, step_before = x0, step
        x0 = (z - sigma * predict(z, t)) / alpha
        if point < timesteps.shape[1] - 1:
            next_alpha, next_sigma = alphas_and_sigmas(timesteps[:, point + 1])
            step = (next_alpha / next_sigma).log() - (alpha / sigma).log()
            # Times that happen to lie close together would make a small difference large.
            slope = x0 + (step / (2 * step_before)).clamp(max=1) * (x0 - before) if point else x0
            z = next_sigma / sigma * z - next_alpha * torch.expm1(-step) * slope
    return x0


@dataclass(frozen=True)
class Trajectories:
    """read(trajectory, what) → a tensor of it, in fp16: `z`, `full`, `image`, `uncond` (points, 4, h, w), `t` (points,), `last` and
    `condition` (4, h, w), `text` (77, width), `scales` (2,), text scale first. count: how many there are."""

    cache: Cache
    count: int

    def read(self, trajectory: int, what: str) -> torch.Tensor:
        group, place = divmod(trajectory, TOGETHER)
        return self.cache.read(group, f"{place}.{what}")


def trajectories(output: Path, seed: int, stage: Stage, teacher: Networks, rows: Rows, accelerator: Accelerator) -> Trajectories:
    """Fills the cache and gives it. Trajectory n is the same whenever it is made: all that is drawn for it follows from (seed, n)."""
    pairs, usable = rows.pairs, rows.usable
    unet, vae, text_encoder = teacher.unet, teacher.vae, teacher.text_encoder
    for network in (unet, vae, text_encoder):
        network.to(accelerator.device).eval().requires_grad_(False)

    def drawn(n: int) -> dict[str, Any]:
        rng = generator_of(seed, 4, n)
        row = usable[row_of(n, len(usable), seed, 0)]
        phrasings = pairs.texts(row)["edit_prompts"]
        picture = crop([pairs[row].original_image], stage, crop_generator(seed, row, n))[0]
        scales = [round(float(rng.uniform(ends[0], ends[1])), 2) for ends in (stage.text_scales, stage.image_scales)]
        return {
            "picture": picture,
            "tokens": token_ids(teacher.tokenizer, phrasings[int(rng.integers(len(phrasings)))]),
            "scales": torch.tensor(scales),
            "t": torch.tensor(points_of(stage, rng)),
            "noise": torch.from_numpy(rng.standard_normal((4, stage.size // 8, stage.size // 8), np.float32)),
        }

    @torch.no_grad()
    def made(group: int) -> dict[str, torch.Tensor]:
        every = [drawn(group * TOGETHER + i) for i in range(TOGETHER)]
        batch = {key: torch.stack([one[key] for one in every]).to(accelerator.device) for key in every[0]}
        empty = token_ids(teacher.tokenizer, "")[None].to(accelerator.device)
        with accelerator.autocast():
            condition = vae.encode(batch["picture"]).latent_dist.mode()
            text = text_encoder(input_ids=torch.cat([batch["tokens"], empty])).last_hidden_state
        condition, text, empty = condition.float(), text[:-1].float(), text[-1:].float().expand(len(every), -1, -1)
        pictures, texts = torch.cat([condition, condition, torch.zeros_like(condition)]), torch.cat([text, empty, empty])
        text_scale, image_scale = (rearrange(scale, "b -> b 1 1 1") for scale in batch["scales"].unbind(1))
        weights = pass_weights(text_scale, image_scale)
        points: list[torch.Tensor] = []

        def predict(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            with accelerator.autocast():
                rows = unet(torch.cat([torch.cat([z] * 3), pictures], 1), torch.cat([t] * 3), encoder_hidden_states=texts).sample.float()
            passes = rows.chunk(3)
            points.append(torch.stack([z, *passes], 1))
            return combine(passes, weights)

        last = sampled(batch["noise"], batch["t"], predict)
        kept = {"t": batch["t"].float(), "scales": batch["scales"], "last": last, "condition": condition, "text": text}
        kept |= dict(zip(("z", *PASSES), torch.stack(points, 1).unbind(2)))
        return {f"{i}.{key}": value[i].cpu() for i in range(len(every)) for key, value in kept.items()}

    settings = [
        stage.times, stage.between, list(stage.text_scales), list(stage.image_scales), stage.size, list(stage.resize), stage.flip,
        seed, accelerator.mixed_precision,
    ]  # fmt: skip
    of_rows = hashlib.sha256(str(list(usable)).encode()).hexdigest()
    key = key_of(fingerprint(unet, vae, text_encoder), teacher.tokenizer.get_vocab(), pairs.fingerprint, of_rows, settings)
    groups = -(-stage.trajectories // (TOGETHER * SHARD)) * SHARD  # whole files: with more trajectories, those that are there stay
    cache = Cache(output / "cache" / f"trajectories-{key}", groups, made, f"{TOGETHER} trajectories", SHARD)
    cache.fill(accelerator)
    for network in (unet, vae, text_encoder):
        network.to("cpu")  # beside the student there may be no room for them
    return Trajectories(cache, groups * TOGETHER)
