"""The standalone editor: picture and instruction → picture, without the WebUI.

The networks are those of diffusers and transformers; the loop and the guidance are ours, the same as in the WebUI
(`webui/denoiser.py`): a pass without weight is never run, equal passes are run once, counted per call and per picture.
A prompt is read as it stands: the WebUI's emphasis, AND and [from:to:when] are not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from .. import images
from ..acting import Ask, acting_levels, acting_region
from ..chain import lines_of, next_edit, steps_of, varied
from ..checkpoints.lora import Lora
from ..checkpoints.recognise import EDIT_CHANNELS
from ..checkpoints.student import WHERE_IT_ACTS, check_student_can, refuse
from ..edit import MAX_BATCH, Edit
from ..errors import EditError
from ..guidance import Scope
from ..infotext import infotext_of
from ..located import Finder, located
from ..pixels import latent_mask, latent_share, to_tensor
from ..region import Region
from ..relevance import relevance
from ..result import finished
from ..segmentation import regions_named
from ..where import INSTRUCTION, NAME
from .jobs import EditContext, Interrupted, Job, Result
from .model import DiffusionModel
from .run import OUT_OF_MEMORY, Run, network_of
from .samplers import Scheduler, check_editor_can, scheduler_of, timesteps_of

Argument = TypeVar("Argument")
Value = TypeVar("Value")


class Stopped(Exception):
    """`on_rows` said False."""


class Editor(DiffusionModel):
    """An edit model, ready. `rows`: of every step of the last `edit` how many rows the UNet was given; `loras`: what was added to its weights."""

    kind, channels = "an edit model", EDIT_CHANNELS

    def __init__(self, *networks: Any, **named: Any):
        """As `DiffusionModel`."""
        super().__init__(*networks, **named)
        self.rows: list[int] = []
        self.loras: list[Lora] = []

    def load_lora(self, file: str | Path, weight: float = 1.0) -> None:
        """Adds a LoRA, times `weight`, to the weights; several may be added. file: safetensors, as kohya's scripts, diffusers or peft write it.

        Raises EditError for a file that can't be read or does not fit.
        """
        from .fuse_lora import fuse_lora

        lora = Lora(Path(file), weight)
        fuse_lora(lora, self.unet, self.text_encoder)
        self.loras.append(lora)

    @torch.inference_mode()
    def edit(
        self,
        edits: Edit | Sequence[Edit],
        *,
        noise: torch.Tensor | Sequence[torch.Tensor] | None = None,
        batch_size: int = MAX_BATCH,
        on_step: Callable[[int, int, torch.Tensor], bool | None] | None = None,
        on_rows: Callable[[int, int], bool | None] | None = None,
    ) -> list[Result]:
        """The results of every edit, in order: of each line of its instruction (`chain.py`) those of `count · batch_size` seeds, or
        its `variants`.

        noise: (4, h, w) for every result of a line, (n, 4, h, w) of unit variance, in place of what its seed draws;
        batch_size: results of one size, sampler and step count that run together, whichever edit they are of;
        on_step(step, total, latents): after every step; on_rows(done, total): after every strip of rows of a result that is enlarged or
        brought to full size. False stops. Raises EditError and Interrupted.
        """
        self.rows = []
        chains: list[list[Edit]] = []  # of every edit each part of each line
        for edit in [edits] if isinstance(edits, Edit) else edits:
            check_editor_can(edit)
            if self.baked_scales is not None:
                check_student_can(edit, self.name)
            lines_of(edit)  # refuses what can't be a chain before anything is looked for
            found = varied(located(edit, self.finders))
            chains += [[step for line in lines_of(one) for step in steps_of(line)] for one in found]
        jobs = self._jobs([steps[0] for steps in chains], noise)
        batches = [  # of each step in turn; the results of the steps before decide nothing of which run together
            (step, batch)
            for step in range(max(map(len, chains), default=0))
            for batch in batches_of([(job, chains[job.edit][step]) for job in jobs if len(chains[job.edit]) > step], batch_size)
        ]
        totals = [len(self.timesteps(batch[0].context.edit)[1]) for _, batch in batches]

        results: dict[tuple[int, int, int], Result] = {}  # by edit, step and place in the step

        def shown() -> list[Result]:
            return [results[key] for key in sorted(results) if is_last_part(chains[key[0]][key[1]])]

        for number, (step, batch) in enumerate(batches):
            if step:
                before = [results[job.edit, step - 1, job.index] for job in batch]
                following = [next_edit(chains[job.edit][step], one.image, one.seed) for job, one in zip(batch, before)]
                contexts = self._jobs(following, None)
                batch = [
                    replace(job, context=new.context, noise=None if new.context.edit.part else job.noise)
                    for job, new in zip(batch, contexts)
                ]
            report = on_step and partial(report_step, on_step, sum(totals[:number]), sum(totals))
            run = Run(self, batch, self.rows)
            if not run.denoise(report):
                raise Interrupted(shown())
            for i, job in enumerate(batch):
                result = self._finish(job, run.latents[i], on_rows)
                if result is None:
                    raise Interrupted(shown())
                results[job.edit, step, job.index] = result
        return shown()

    @property
    def finders(self) -> dict[str, Finder]:
        """What finds the regions that an edit asks for, as `located` takes it."""
        return {NAME: regions_named, INSTRUCTION: self._acting_region}

    def _acting_region(self, edit: Edit) -> list[Region]:
        return acting_region(edit, self.asks(edit))

    def asks(self, edit: Edit) -> Ask:
        """What tells where instructions act, with the edit's negative prompt. It raises EditError where memory runs out. Raises EditError for a
        student, which tells nothing of it."""
        if self.baked_scales is not None:
            raise refuse(WHERE_IT_ACTS, self.name)
        return partial(self._relevance, edit)

    @torch.inference_mode()
    def _relevance(self, edit: Edit, picture: Image.Image, instruction: str) -> torch.Tensor:
        condition = in_memory(self.encode_picture, picture)
        words = self.encode_text(instruction), self.encode_text(edit.negative_prompt)
        source, alphas = condition * self.vae.config.scaling_factor, self.scheduler(edit).alphas_cumprod
        return in_memory(lambda picture: relevance(network_of(self), source, picture, *words, alphas), condition.to(self.dtype))

    def scheduler(self, edit: Edit) -> Scheduler:
        """diffusers' scheduler of the edit's sampler, its steps not yet set."""
        return scheduler_of(edit, self.prediction_type)

    def timesteps(self, edit: Edit) -> tuple[Scheduler, torch.Tensor]:
        """(scheduler, the timesteps that this edit makes, the noisiest first), as the WebUI makes them of the same settings."""
        return timesteps_of(edit, self.prediction_type, self.device)

    def encode_picture(self, picture: Image.Image) -> torch.Tensor:
        """→ (4, h, w), the mode of the VAE's posterior, not multiplied by the scale factor."""
        pixels = to_tensor(picture)[None]
        return self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()[0].float()

    @torch.inference_mode()
    def reconstruct(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture with sides of multiples of 8 through the autoencoder alone → (H, W, 3) in [0, 255]. Raises EditError."""
        return in_memory(self.decode, in_memory(self.encode_picture, picture) * self.vae.config.scaling_factor)

    def _jobs(self, edits: Sequence[Edit], noise: torch.Tensor | Sequence[torch.Tensor] | None) -> list[Job]:
        """A job for every result of the edits, in order. Texts and pictures that they share are encoded once."""
        encoded: dict[tuple, torch.Tensor] = {}
        encoded_pictures: dict[tuple, tuple[Image.Image, torch.Tensor]] = {}

        def encode(text: str) -> torch.Tensor:
            key = tuple(map(tuple, self.tokens(text)))  # other words with the same tokens are the same text
            if key not in encoded:
                encoded[key] = self.encode_text(text)
            return encoded[key]

        jobs: list[Job] = []
        for number, edit in enumerate(edits):
            frame = edit.frame
            key = (id(edit.image), edit.box, frame)
            if edit.image.mode != "RGB":
                edit = replace(edit, image=images.upright_rgb(edit.image))
            if key not in encoded_pictures:
                picture = frame.place(edit.seen)
                encoded_pictures[key] = picture, in_memory(self.encode_picture, picture)
            picture, condition = encoded_pictures[key]
            mask = edit.seen_mask and frame.place(edit.seen_mask)
            held, scope = held_and_scope(edit, mask, condition)
            context = EditContext(edit, picture, mask, condition, held, encode(edit.instruction), encode(edit.negative_prompt))
            first = random.randrange(2**32) if edit.seed == -1 else edit.seed
            seeds = [cell.seed for cell in edit.variants] or [first + i for i in range(edit.count * edit.batch_size)]
            for place, seed in enumerate(seeds):
                seed = first if seed == -1 else seed
                jobs.append(Job(len(jobs), number, context, seed, replace(edit.guidance(seed, place), scope=scope), None))
        if noise is None:
            return jobs
        if len(noise) != len(jobs):
            raise EditError(f"There are {len(noise)} noises for {len(jobs)} results: give one for every result.")
        for job, own in zip(jobs, noise):
            if own.shape != job.context.condition.shape:
                raise EditError(f"A noise is {tuple(own.shape)} but the latent is {tuple(job.context.condition.shape)}.")
        return [replace(job, noise=own) for job, own in zip(jobs, noise)]

    def _through_vae(self, context: EditContext) -> np.ndarray:
        """The levels of an edit's picture through the autoencoder alone, once for all its results."""
        if context.decoded is None:
            context.decoded = in_memory(self.decode, context.condition * self.vae.config.scaling_factor)
        return context.decoded

    def _heat_map(self, context: EditContext) -> Image.Image:
        """Where the instruction acts on an edit's picture, once for all its results."""
        if context.heat_map is None:
            levels = acting_levels(context.edit, self.asks(context.edit))
            context.heat_map = images.heat_picture(levels.numpy(), context.edit.frame.cut(context.picture))
        return context.heat_map

    def _finish(self, job: Job, latent: torch.Tensor, on_rows: Callable[[int, int], bool | None] | None) -> Result | None:
        """None where `on_rows` stopped it."""

        def rows(done: int, total: int) -> None:
            if on_rows is not None and on_rows(done, total) is False:
                raise Stopped

        context, edit = job.context, job.context.edit
        if context.latent_mask is not None:
            latent = torch.lerp(context.condition * self.vae.config.scaling_factor, latent, context.latent_mask)
        levels = in_memory(self.decode, latent)
        try:
            image = finished(edit, levels, context.picture, context.mask, partial(self._through_vae, context), rows)
        except Stopped:
            return None
        scales = job.guidance.text_scale, job.guidance.image_scale
        tags = [lora.tag for lora in self.loras]
        return Result(
            image=image,
            seed=job.seed,
            text_scale=scales[0],
            image_scale=scales[1],
            infotext=infotext_of(edit, seed=job.seed, scales=scales, size=context.picture.size, model=self.name, tags=tags),
            levels=levels,
            heat_map=self._heat_map(context) if edit.heat_map else None,
        )


def held_and_scope(edit: Edit, mask: Image.Image | None, condition: torch.Tensor) -> tuple[torch.Tensor | None, Scope | None]:
    """How an edit keeps to its mask: (1 where a latent is edited, (1, h, w)), or where its guidance acts; both None without a mask."""
    if mask is None:
        return None, None
    size = condition.shape[-2], condition.shape[-1]
    if edit.scoped:
        return None, Scope(latent_share(mask, size))
    return latent_mask(mask, size).to(condition.device), None


def batches_of(jobs: Sequence[tuple[Job, Edit]], batch_size: int) -> list[list[Job]]:
    """Jobs, each with the edit that it makes now, of one working size, sampler, schedule and step count together, at most `batch_size` of them."""
    groups: dict[tuple, list[Job]] = {}
    for job, edit in jobs:
        key = edit.frame.size, edit.sampler_name, edit.scheduler, edit.steps, edit.denoising_strength
        groups.setdefault(key, []).append(job)
    return [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]


def is_last_part(edit: Edit) -> bool:
    return not edit.alone or edit.part == len(edit.parts) - 1


def report_step(
    on_step: Callable[[int, int, torch.Tensor], bool | None], before: int, total: int, step: int, latents: torch.Tensor
) -> bool | None:
    return on_step(before + step, total, latents)


def in_memory(function: Callable[[Argument], Value], argument: Argument) -> Value:
    """function(argument), with an EditError where memory runs out."""
    try:
        return function(argument)
    except torch.OutOfMemoryError as e:
        raise EditError(OUT_OF_MEMORY) from e
