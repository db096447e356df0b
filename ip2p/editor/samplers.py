"""The standalone editor's samplers: diffusers' schedulers, set so that they step as the WebUI's samplers of the same name do."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ..edit import Edit
from ..errors import EditError

try:
    from diffusers import (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        EulerAncestralDiscreteScheduler,
        EulerDiscreteScheduler,
        UniPCMultistepScheduler,
    )
except ImportError as e:
    raise ImportError("The editor needs diffusers and transformers: pip install 'sd-webui-instruct-edit[edit]'") from e

from .lcm import EVERY, LatentConsistencyScheduler, at, log_sigmas_of

# As Stable Diffusion was trained (Rombach et al., arXiv 2112.10752).
TRAINED = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000)
Scheduler = Any  # any of diffusers' schedulers, whose common class declares neither steps nor timesteps
SAMPLERS: dict[str, tuple[type, dict[str, Any]]] = {
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "Euler": (EulerDiscreteScheduler, {}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),  # the schedule that "Automatic" means in the WebUI
    "DDIM": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "UniPC": (UniPCMultistepScheduler, {}),
    "LCM": (LatentConsistencyScheduler, {}),
}
DRAWING = ("Euler a", "LCM")  # samplers that draw noise at their steps
AUTOMATIC, SGM_UNIFORM = SCHEDULES = "Automatic", "SGM Uniform"
OWN_TIMESTEPS = ("DDIM", "UniPC")  # samplers that take no schedule


class Sampling(Protocol):
    """What a scheduler is made of: an edit's settings, or a text-to-image model's."""

    @property
    def sampler_name(self) -> str: ...

    @property
    def steps(self) -> int: ...

    @property
    def scheduler(self) -> str: ...

    @property
    def denoising_strength(self) -> float: ...


def scheduler_of(edit: Sampling, prediction_type: str) -> Scheduler:
    """diffusers' scheduler of the edit's sampler, its steps not yet set."""
    kind, options = SAMPLERS[edit.sampler_name]
    if kind is not DDIMScheduler:
        # diffusers' linspace of one step is the finished picture; "trailing" begins at the noisiest timestep.
        one_step = edit.steps == 1 and "Euler" in edit.sampler_name
        options = {**options, "timestep_spacing": "trailing" if one_step else "linspace"}
    return kind(**TRAINED, prediction_type=prediction_type, **options)


def timesteps_of(edit: Sampling, prediction_type: str, device: torch.device) -> tuple[Scheduler, torch.Tensor]:
    """(scheduler, its timesteps that this edit makes, the noisiest first), as the WebUI makes them of the same settings.

    DDIM ends at timestep 1 and not after it; an edit that starts from the picture makes the last share.
    """
    scheduler = scheduler_of(edit, prediction_type)
    scheduler.set_timesteps(edit.steps, device=device)
    ddim = isinstance(scheduler, DDIMScheduler)
    if ddim:
        every = [min(t + 1, 999) for t in range(0, 1000, 1000 // edit.steps)]
        scheduler.timesteps = torch.tensor(every[:0:-1], device=device)
    if edit.scheduler == SGM_UNIFORM:
        set_sgm_uniform(scheduler, edit.steps, device)
    timesteps = scheduler.timesteps
    if edit.denoising_strength < 1:
        left = int(min(edit.denoising_strength, 0.999) * edit.steps) + (-1 if ddim else 1)
        timesteps = timesteps[max(len(timesteps) - left, 0) :] if left > 0 else timesteps[:0]
    if not len(timesteps):
        raise EditError(f"{edit.sampler_name} makes no step at {edit.steps} steps and strength {edit.denoising_strength}: choose more.")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(len(scheduler.timesteps) - len(timesteps))
    return scheduler, timesteps


def set_sgm_uniform(scheduler: Scheduler, steps: int, device: torch.device) -> None:
    """The schedule of that name: evenly spaced timesteps, fractions among them, that end a step before the last.

    scheduler: of a sampler without `OWN_TIMESTEPS`, its steps set.
    """
    first = scheduler.config.num_train_timesteps - 1
    if isinstance(scheduler, LatentConsistencyScheduler):
        scheduler.set_places(torch.linspace(first, EVERY - 1, steps + 1)[:-1], device)
        return
    timesteps = torch.linspace(first, 0, steps + 1)[:-1]
    sigmas = at(timesteps, log_sigmas_of(scheduler)).exp()
    scheduler.timesteps, scheduler.sigmas = timesteps.to(device), torch.cat([sigmas, sigmas.new_zeros(1)])


def check_editor_can(edit: Edit) -> None:
    """Raises EditError for what only the WebUI does."""
    if edit.sampler_name not in SAMPLERS:
        raise EditError(f"There is no sampler “{edit.sampler_name}”. Known ones: {', '.join(SAMPLERS)}.")
    if edit.scheduler not in ("", *SCHEDULES):
        raise EditError(f"There is no schedule type “{edit.scheduler}” here. Known ones: {', '.join(SCHEDULES)}.")
    if edit.scheduler == SGM_UNIFORM and edit.sampler_name in OWN_TIMESTEPS:
        raise EditError(f"{edit.sampler_name} has timesteps of its own: leave the schedule type at {AUTOMATIC}, or take another sampler.")
    if edit.styles:
        raise EditError("Styles are the WebUI's: write what they say into the instruction.")
