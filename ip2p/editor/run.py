"""One batch of the editor on its way from noise to latents: the loop over the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from ..edit import Edit
from ..errors import EditError
from ..guidance import progress_at
from ..passes import GuidedDenoiser, Network, Text
from ..scale_input import difference
from .jobs import Job
from .samplers import DRAWING

OUT_OF_MEMORY = "There is not enough GPU memory for this edit: choose a smaller size."


class Model(Protocol):
    """What a run needs of an editor."""

    unet: Any
    vae: Any
    baked_scales: tuple[float, float] | None

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def timesteps(self, edit: Edit) -> tuple[Any, torch.Tensor]: ...


def network_of(model: Model) -> Network:
    """An edit model's UNet as `passes` calls it: of some rows the prediction, in float32. scales: those that a student is told."""

    def network(
        latent: torch.Tensor, t: torch.Tensor, picture: torch.Tensor, text: Text, scales: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = torch.cat([latent.to(model.dtype), picture], 1)
        told = None
        if scales is not None and model.baked_scales is not None:
            told = difference(scales, model.baked_scales).to(model.dtype)
        return model.unet(x, t, encoder_hidden_states=text, timestep_cond=told).sample.float()

    return network


class Run:
    """One batch of jobs with the same sampler and step count.

    latents: (pictures, 4, h, w), in float32 whatever the networks' precision; rows: a list that gets, of every step, how many rows the
    UNet was given.
    """

    def __init__(self, editor: Model, jobs: list[Job], rows: list[int] | None = None):
        self.editor, self.jobs = editor, jobs
        edit = jobs[0].context.edit
        self.scheduler, self.timesteps = editor.timesteps(edit)
        # One for every picture and on the CPU: a seed gives one picture in any batch and on any device. Each part has its own.
        self.generators = [torch.Generator().manual_seed(job.seed + job.context.edit.part) for job in jobs]
        self.step_options = {"generator": self.generators} if edit.sampler_name in DRAWING else {}
        conditions = torch.stack([job.context.condition for job in jobs])
        self.start = conditions * editor.vae.config.scaling_factor
        self.model = GuidedDenoiser(
            network_of(editor),
            conditions.to(editor.dtype),
            [job.context.text for job in jobs],
            [job.context.negative for job in jobs],
            [job.guidance for job in jobs],
            lambda t: progress_at(t, self.scheduler.config.num_train_timesteps),
            self._per_epsilon,
            student=editor.baked_scales is not None,
            on_memory_shortage=torch.cuda.empty_cache if editor.device.type == "cuda" else lambda: None,
        )
        if rows is not None:
            self.model.runner.rows = rows
        # Drawn even where it is given, so that the noise of later steps is the same.
        drawn = [torch.randn(job.context.condition.shape, generator=generator) for job, generator in zip(jobs, self.generators)]
        noise = torch.stack([own if job.noise is None else job.noise.cpu() for job, own in zip(jobs, drawn)])
        self.latents = noise.to(self.start)
        if edit.denoising_strength < 1:
            alpha, sigma = self._noise_level(0)
            scale = alpha if self.scheduler.init_noise_sigma == 1 else 1.0  # Euler's latents are not shrunk
            self.latents = (self.start * alpha + self.latents * sigma) * (scale / alpha)
        else:
            self.latents = self.latents * self.scheduler.init_noise_sigma

    def denoise(self, on_step: Callable[[int, torch.Tensor], bool | None] | None) -> bool:
        """All steps. on_step(step, latents); False when that stopped it. Raises EditError when memory runs out."""
        for step, t in enumerate(self.timesteps):
            x = self.scheduler.scale_model_input(self.latents, t)
            try:
                guided = self.model(x, t.to(x.device).expand(len(x)))
            except torch.cuda.OutOfMemoryError as e:
                raise EditError(OUT_OF_MEMORY) from e
            guided = self._keep_outside_mask(guided, x, step)
            self.latents = self.scheduler.step(guided, t, self.latents, **self.step_options).prev_sample
            if on_step and on_step(step + 1, self.latents) is False:
                return False
        return True

    def _per_epsilon(self, t: torch.Tensor) -> torch.Tensor:
        """By how much the network's prediction changes where ε does by one. t: (rows,)"""
        if self.scheduler.config.prediction_type == "v_prediction":
            return self.scheduler.alphas_cumprod.to(t.device)[t.long()] ** -0.5
        return torch.ones_like(t, dtype=torch.float32)

    def _noise_level(self, step: int) -> tuple[float, float]:
        """(α, σ) with α² + σ² = 1: the network is given α·x0 + σ·ε."""
        if hasattr(self.scheduler, "sigmas"):
            sigma = float(self.scheduler.sigmas[len(self.scheduler.timesteps) - len(self.timesteps) + step])
            alpha = (1 + sigma**2) ** -0.5
        else:
            alpha = float(self.scheduler.alphas_cumprod[int(self.timesteps[step])]) ** 0.5
        return alpha, (1 - alpha**2) ** 0.5

    def _keep_outside_mask(self, guided: torch.Tensor, x: torch.Tensor, step: int) -> torch.Tensor:
        """Outside the mask the prediction becomes the one whose x0 is the picture's latent."""
        alpha, sigma = self._noise_level(step)
        for i, job in enumerate(self.jobs):
            if job.context.latent_mask is None:
                continue
            if self.scheduler.config.prediction_type == "v_prediction":  # v = α·ε − σ·x0 (Salimans and Ho, arXiv 2202.00512)
                original = (alpha * x[i] - self.start[i]) / sigma
            else:
                original = (x[i] - alpha * self.start[i]) / sigma
            guided[i] = torch.lerp(original, guided[i], job.context.latent_mask)
        return guided
