"""Sampling by latent consistency (LCM, Luo et al., arXiv 2310.04378), as the WebUI's sampler of that name does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor

EVERY = 20  # of the 1000 timesteps LCM knows 19, 39, … 999
SIGMA_DATA, TIMESTEP_SCALE = 0.5, 10.0  # of the consistency function (its section 3.1), as its authors' code has them


@dataclass
class Step:
    prev_sample: torch.Tensor


class LatentConsistencyScheduler(EulerAncestralDiscreteScheduler):
    """Of every step the predicted x0, to which new noise of the next level is added; the last x0 is the result.

    Latents are x0 + σ·ε, as Euler's. A level may lie between those that LCM knows, and then the network is told the nearest of them by
    log σ; between two that are equally near the last bit decides, so all is computed as the WebUI computes it, in float32.
    """

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        self.set_places(torch.linspace(self.config.num_train_timesteps - 1, EVERY - 1, num_inference_steps), device)

    def set_places(self, places: torch.Tensor, device: str | torch.device | None) -> None:
        """places: (steps,), timesteps with fractions, the noisiest first."""
        log_sigmas = log_sigmas_of(self)[EVERY - 1 :: EVERY]
        sigmas = at((places - (EVERY - 1)) / EVERY, log_sigmas).exp()
        nearest = (sigmas.log() - log_sigmas[:, None]).abs().argmin(0)
        self.timesteps = (nearest * EVERY + EVERY - 1).to(device)
        self.sigmas = torch.cat([sigmas, sigmas.new_zeros(1)])
        self.num_inference_steps = len(places)
        self._step_index = self._begin_index = None

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, generator: Any = None, **_: Any) -> Step:
        """model_output: the network's prediction for `sample` as `scale_model_input` scaled it; generator: one, or one for every picture."""
        if self.step_index is None:
            self._init_step_index(timestep)
        sigma, following = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        if self.config.prediction_type == "v_prediction":  # v = α·ε − σ·x0 (Salimans and Ho, arXiv 2202.00512)
            x0 = sample / (sigma**2 + 1) - model_output * sigma / (sigma**2 + 1) ** 0.5
        else:
            x0 = sample - sigma * model_output
        scaled = TIMESTEP_SCALE * float(timestep)
        x0 = x0 * scaled / (scaled**2 + SIGMA_DATA**2) ** 0.5 + sample * SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        self._step_index += 1  # type: ignore[operator, assignment] # diffusers' own count
        if following > 0:
            x0 = x0 + following * randn_tensor(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return Step(x0)


def log_sigmas_of(scheduler: Any) -> torch.Tensor:
    """(timesteps,), log σ of each, in float32 on the CPU, of a scheduler with Stable Diffusion's noise."""
    config = scheduler.config
    betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0).float()  # rounded where the WebUI rounds them
    return ((1 - alphas) / alphas).sqrt().log()


def at(places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`values` at places between them, interpolated linearly."""
    low, high, share = places.floor().long(), places.ceil().long(), places.frac()
    return (1 - share) * values[low] + share * values[high]
