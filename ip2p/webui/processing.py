"""One edit as the host's processing object: what `process_images` runs for the tab and the API."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from PIL import Image

from modules import (
    devices,
    processing,
    scripts,
    sd_samplers,
    sd_samplers_common,
    sd_samplers_timesteps,
    sd_schedulers,
    shared,
)

from .. import images
from ..acting import acting_levels
from ..chain import lines_of
from ..edit import FULL, OWN_SIZE, WORKING, Edit
from ..errors import EditError
from ..guidance import Scope
from ..infotext import field_name
from ..pixels import latent_mask, latent_share, to_levels
from ..presets import quoted
from . import paste
from .asking import asks
from .denoiser import OUT_OF_MEMORY, check_edit_model, check_loaded, edit_denoiser
from .encoding import encoded
from .finishing import Made, finished_in_job, quick_files, small_grid
from .kept_results import MAX_BYTES
from .one_by_one import OneByOne
from .one_pass import check_student
from .previews import own_colours
from .prompts import check_prompts

TIMESTEPS = 1000
MAX_TOGETHER = 1_000_000_000  # pixels of all results of a job, which the host keeps until its end: 3 GB
NO_ROOM = "There is not enough memory for this edit: choose a smaller size or fewer results."

# Below these a sampler makes no call of the network or fails; UniPC's is a setting of the host. Every sampler is tested at them.
SAMPLER_MIN_STEPS = {
    "DDIM": 2, "DDIM CFG++": 2, "PLMS": 2, "DPM fast": 2, "DPM adaptive": 2,
    "DPM++ 2M SDE": 2, "DPM++ 2M SDE Heun": 2, "DPM++ 3M SDE": 2,
}  # fmt: skip
# At one step these schedules consist of their last noise level, at which there is no picture left to make.
SCHEDULE_MIN_STEPS = {"DDIM": 2, "Align Your Steps": 2}


@dataclass(frozen=True)
class Result:
    """One edited picture: what it was made from, and what made it. heat_map: where the instruction acts, if asked for; cut_short: interrupted or skipped, so that it is half done, or enlarged in place of full; made: what
    the network made of it, if asked for."""

    picture: Image.Image
    image: Image.Image
    infotext: str
    seed: int
    heat_map: Image.Image | None = None
    cut_short: bool = False
    made: Made | None = None


def run_edit(
    edit: Edit,
    starts: Sequence[Edit] = (),
    *,
    outdir: str = "",
    save: bool = False,
    grid: bool = False,
    user: str | None = None,
    keep: bool = False,
) -> tuple[processing.Processed, list[Result]]:
    """Runs one line of a chain; call it with the host's queue lock held and its state begun.

    starts: for every result the edit that makes it, where each has a picture of its own (`chain.next_edit`); keep: give every result's `made` too, if
    they are not too large together.
    Raises EditError for what the person who asked can mend.
    """
    check_ready(edit)
    with closing(EditProcessing.of(edit, starts, outdir)) as p:
        p.user, p.keeps = user, keep and p.bytes_of_made() <= MAX_BYTES
        p.do_not_save_samples = p.do_not_save_grid = not save
        p.do_not_save_grid |= not grid
        try:
            with small_grid(p.edit.frame.working_size), quick_files():
                processed = processing.process_images(p)
        except devices.NansException as e:
            raise EditError(str(e)) from e  # the host's own advice: precision, or --no-half-vae
        except torch.cuda.OutOfMemoryError as e:
            raise EditError(OUT_OF_MEMORY) from e
        except (MemoryError, RuntimeError) as e:
            if not is_lack_of_memory(e):
                raise
            raise EditError(NO_ROOM) from e
        first = processed.index_of_first_image
        seeds = [seed - edit.part for seed in processed.all_seeds]
        pictures = zip(processed.images[first:], processed.infotexts[first:], seeds)
        results = [
            Result(p.start(i).image, *one, p.heat_map(i), p.cut_short[i], p.made[i] if p.keeps else None) for i, one in enumerate(pictures)
        ]
    shared.total_tqdm.clear()
    return processed, results


def is_lack_of_memory(error: Exception) -> bool:
    """Of the machine's memory, not the GPU's: Python's error, or what torch raises in its place."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def check_ready(edit: Edit) -> None:
    """Raises EditError for what this host can't do, whatever the picture is."""
    check_host_can(edit)
    check_styles(edit)
    check_loaded()


def check_host_can(job, from_noise: bool | None = None) -> None:
    """Raises EditError for a sampler, schedule or step count that this host does not have or its sampler can't do.

    job: an `Edit` or the host's processing object, which name these settings alike; from_noise: whether it starts from pure
    noise, by default if its denoising strength is 1.
    """
    if job.sampler_name not in sd_samplers.all_samplers_map:
        raise EditError(f"There is no sampler {quoted(job.sampler_name)}. Known ones: {', '.join(sd_samplers.all_samplers_map)}.")
    schedule = sd_schedulers.schedulers_map.get(job.scheduler or "Automatic")
    if schedule is None:
        known = ", ".join(x.label for x in sd_schedulers.schedulers)
        raise EditError(f"There is no schedule type {quoted(job.scheduler)}. Known ones: {known}.")
    least = SCHEDULE_MIN_STEPS.get(schedule.label, 1)
    if job.steps < least:
        raise EditError(f"Schedule type {schedule.label} needs at least {least} steps, not {job.steps}.")
    least = int(shared.opts.uni_pc_order) if job.sampler_name == "UniPC" else SAMPLER_MIN_STEPS.get(job.sampler_name, 1)
    from_noise = job.denoising_strength == 1 if from_noise is None else from_noise
    steps = job.steps if from_noise else steps_from_picture(job)
    if steps < least:
        left = f", not {steps}" if steps == job.steps else f"; denoising strength {job.denoising_strength} leaves {steps} of {job.steps}"
        raise EditError(f"{job.sampler_name} needs at least {least} steps{left}.")


def check_room(edit: Edit) -> None:
    """Raises EditError for results of a chain that together take more memory than one job should."""
    width, height = edit.frame.working_size if edit.result == WORKING else edit.image.size
    results = results_of_line(edit) * len(lines_of(edit))
    if results * width * height > MAX_TOGETHER:
        raise EditError(
            f"{results} results of {width}x{height} are too large together: ask for {MAX_TOGETHER // (width * height)} at most, or smaller ones."
        )


def results_of_line(edit: Edit) -> int:
    return len(edit.variants) or len(edit.variations) or edit.count * edit.batch_size


def check_styles(edit: Edit) -> None:
    """Raises EditError for a style that the host would leave out in silence."""
    known = shared.prompt_styles.styles
    for style in edit.styles:
        if style not in known:
            raise EditError(f"There is no style {quoted(style)}. Known ones: {', '.join(known) or 'none'}.")


def steps_from_picture(job) -> int:
    """Steps that the host's sampler makes when it starts from the picture: only the last share of them."""
    total, last = sd_samplers_common.setup_img2img_steps(job)
    if not 1 <= total <= TIMESTEPS:  # the host's setting for exact step counts divides by the strength
        return 0
    sampler = sd_samplers.all_samplers_map[job.sampler_name]
    return last if sampler in sd_samplers_timesteps.samplers_data_timesteps else last + 1


@dataclass(repr=False)
class EditProcessing(processing.StableDiffusionProcessingImg2Img):
    """An edit from pure noise: the picture reaches the network as a condition, not as a start.

    With `denoising_strength` below 1 it starts from the picture's latent and noise, as img2img does.
    """

    edit: Edit = None
    starts: Sequence[Edit] = ()  # for every result the edit that makes it, where each has a picture of its own
    pictures: list[Image.Image] = field(default_factory=list, init=False)  # at working size: one, or one for every result
    modes: torch.Tensor = field(default=None, init=False)  # (pictures, 4, h, w): the posterior's, unscaled
    heat_maps: list[Image.Image] = field(default_factory=list, init=False)  # of every one of `pictures`, where asked for
    through_vae: dict[int, np.ndarray] = field(default_factory=dict, init=False)  # of `pictures`, (h, w, 3) in [0, 255]
    keeps: bool = field(default=False, init=False)  # whether `made` is asked for
    made: list[Made] = field(default_factory=list, init=False)  # of every result
    enlarged: set[int] = field(default_factory=set, init=False)  # results that were to be full and were interrupted
    cut_short: list[bool] = field(default_factory=list, init=False)  # of every result, whether its run was interrupted or skipped
    named: set[tuple[int, int]] = field(default_factory=set, init=False)  # (batch, place) of results whose files have names

    @classmethod
    def of(cls, edit: Edit, starts: Sequence[Edit] = (), outdir: str = "") -> EditProcessing:
        if starts:
            edit = replace(starts[0], count=edit.count, batch_size=edit.batch_size)
        width, height = edit.frame.size
        cells = len(edit.variants)
        seeds = [cell.seed for cell in edit.variants] or [start.seed + start.part for start in starts]
        p = cls(
            edit=edit,
            starts=starts,
            sd_model=shared.sd_model,
            outpath_samples=outdir,
            outpath_grids=outdir,
            prompt=[one.instruction for one in starts] or [edit.instruction] * len(seeds) or edit.instruction,
            negative_prompt=edit.negative_prompt,
            styles=list(edit.styles),
            seed=seeds or edit.seed,
            sampler_name=edit.sampler_name,
            scheduler=edit.scheduler,
            batch_size=cells or edit.batch_size,
            n_iter=1 if cells else edit.count,
            steps=edit.steps,
            cfg_scale=edit.text_scale,
            image_cfg_scale=edit.image_scale,
            width=width,
            height=height,
            denoising_strength=edit.denoising_strength,
            init_images=[edit.seen],
        )
        p.extra_generation_params.update(paste.fields_of(edit))
        if edit.result == FULL:
            p.extra_generation_params[field_name("result")] = p._result_given
        return p

    def init(self, all_prompts, all_seeds, all_subseeds):
        check_edit_model(self.sd_model)
        check_prompts(self)
        edit = self.edit
        check_student(self, edit)
        self.pictures = [start.frame.place(start.seen) for start in self.starts or [edit]]
        self.mask_for_result = edit.seen_mask and edit.frame.place(edit.seen_mask)

        # Each picture is encoded once in a job. The condition is the mode of the posterior, not scaled (paper, section 3.2).
        self.modes = torch.cat([encoded(self.sd_model, picture) for picture in self.pictures])
        self._set_conditions(self.batch_size)
        if edit.heat_map:
            self.heat_maps = [
                images.heat_picture(acting_levels(start, asks(start)).numpy(), start.frame.cut(picture))
                for start, picture in zip(self.starts or [edit], self.pictures)
            ]
        if self.mask_for_result is not None and not edit.scoped:
            mode = self.modes[0]
            self.nmask = latent_mask(self.mask_for_result, mode.shape[-2:]).expand(mode.shape[0], -1, -1).to(mode)
            self.mask = 1 - self.nmask

    def _set_conditions(self, count: int) -> None:
        """The picture conditions of the current batch, of `count` results."""
        self.image_conditioning = self.modes[[self._place(i) for i in range(count)]]
        self.init_latent = self.image_conditioning * self.sd_model.scale_factor

    def _place(self, index: int) -> int:
        """In `pictures` and `starts`, of a result by its place in the current batch."""
        return self.iteration * self.batch_size + index if self.starts else 0

    def start(self, result: int) -> Edit:
        """The edit that makes a result, by its place in the job."""
        return self.starts[result] if self.starts else self.edit

    def heat_map(self, result: int) -> Image.Image | None:
        """Where the instruction acts on what a result was made of, by its place in the job, where that was asked for."""
        return self.heat_maps[result if self.starts else 0] if self.heat_maps else None

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        # One for every batch: a refiner leaves the one before holding another model's network.
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        self._set_conditions(len(self.seeds))
        noise = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=self.init_latent, noise=noise, c=conditioning, uc=unconditional_conditioning
            )
        args = (conditioning, unconditional_conditioning)
        scope = Scope(latent_share(self.mask_for_result, self.modes.shape[-2:])) if self.mask_for_result and self.edit.scoped else None
        guidance = [replace(paste.guidance_of(self.edit, self, i), scope=scope) for i in range(len(self.seeds))]
        with edit_denoiser(self.sampler, guidance) as run, own_colours(self.sd_model):
            self.sampler.model_wrap_cfg.init_latent = self.init_latent
            if self.denoising_strength < 1:
                latents = self.sampler.sample_img2img(self, self.init_latent, noise, *args, image_conditioning=self.image_conditioning)
            else:
                latents = self.sampler.sample(self, noise, *args, image_conditioning=self.image_conditioning)
        if not run.calls and not (shared.state.interrupted or shared.state.skipped):
            raise EditError(f"{self.sampler_name} makes no step at {self.steps} steps: choose more.")
        if self.mask is not None:
            latents = self._keep_outside_mask(latents)
        self.cut_short += [shared.state.interrupted or shared.state.skipped] * len(self.seeds)
        # With the names of LoRAs, which the host has taken out: an infotext without them would not give the result again.
        self.prompts = self.all_prompts[self.iteration * self.batch_size : (self.iteration + 1) * self.batch_size]
        devices.torch_gc()
        return self._finish(latents)

    def _keep_outside_mask(self, latents):
        blended = latents * self.nmask + self.init_latent * self.mask
        if self.scripts is not None:
            args = scripts.MaskBlendArgs(latents, self.nmask, self.init_latent, self.mask, blended)
            self.scripts.on_mask_blend(self, args)
            blended = args.blended_latent
        return blended

    def _finish(self, latents):
        """Latents → pictures in [-1, 1] as the host's loop takes them: without what stood round the photograph, at its own size and with
        the pixels outside the mask put back where that was asked."""
        edit = self.edit
        plain = edit.result == WORKING and self.mask_for_result is None and edit.frame.working_size == edit.frame.size
        if plain and not self.keeps:
            return latents
        devices.test_for_nans(latents, "unet")
        if shared.opts.sd_vae_decode_method != "Full":
            self.extra_generation_params["VAE Decoder"] = shared.opts.sd_vae_decode_method
        decoded = self._decoded(latents)
        places = [self._place(i) for i in range(len(decoded))]
        if self.keeps or (edit.result == FULL and edit.detail):
            # The picture through the autoencoder alone, once a job, and now, while the host has the autoencoder where it works.
            for place in {*places} - {*self.through_vae}:
                (picture,) = self._decoded(self.modes[[place]] * self.sd_model.scale_factor)
                self.through_vae[place] = to_levels(picture)
        if self.keeps:
            self.made += [self._made(to_levels(sample), place) for sample, place in zip(decoded, places)]
        if plain:
            return decoded
        return OneByOne([partial(self._finished, i, sample, place) for i, (sample, place) in enumerate(zip(decoded, places))])

    def _decoded(self, latents):
        return processing.decode_latent_batch(self.sd_model, latents, target_device=devices.cpu, check_for_nans=True)

    def bytes_of_made(self) -> int:
        """Of all results and of their pictures, at working size."""
        return 12 * self.width * self.height * (self.batch_size * self.n_iter + max(len(self.starts), 1))

    def _made(self, levels: np.ndarray, place: int) -> Made:
        return Made(self.start(place), levels, self.through_vae[place], self.pictures[place], self.mask_for_result)

    def _finished(self, index: int, sample: torch.Tensor, place: int) -> Image.Image:
        """Of a result by its place in the batch; sample: (3, h, w) in [-1, 1] at working size."""
        edit, picture = self.start(place), self.pictures[place]
        image, as_asked = finished_in_job(edit, to_levels(sample), picture, self.mask_for_result, lambda: self.through_vae[place])
        if not as_asked:
            result = self.iteration * self.batch_size + index
            self.enlarged.add(result)
            self.cut_short[result] = True
        return image

    def _result_given(self, p, index, **_):
        """The infotext's field, by the place in the current batch."""
        return OWN_SIZE if self.iteration * self.batch_size + index in self.enlarged else FULL
