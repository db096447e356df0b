"""The standalone editor: picture and instruction → picture, without the WebUI.

The networks are those of diffusers and transformers; the loop and the guidance are ours, the same as in the WebUI
(`webui/denoiser.py`): a pass without weight is never run, equal passes are run once, counted per call and per picture.
A prompt is read as it stands: the WebUI's emphasis, AND and [from:to:when] are not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import torch
from PIL import Image

from . import images
from .checkpoint import EDIT_CHANNELS
from .clip import as_clip_reads
from .edit import MAX_BATCH, Edit, EditError
from .guidance import Guidance, Plan, pass_weights, plan_passes, progress_at
from .infotext import infotext_of

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

# As Stable Diffusion was trained (Rombach et al., arXiv 2112.10752).
TRAINED = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000)
SAMPLERS = {
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "Euler": (EulerDiscreteScheduler, {}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),  # the schedule that "Automatic" means in the WebUI
    "DDIM": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "UniPC": (UniPCMultistepScheduler, {}),
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CHUNK, NEAR_COMMA = 75, 20  # tokens between BOS and EOS; a chunk ends at a comma among its last 20, as in the WebUI
OUT_OF_MEMORY = "There is not enough GPU memory for this edit: choose a smaller size."


class Interrupted(Exception):
    """The callback stopped the edit. `results`: those that were finished before."""

    def __init__(self, results: list[Result]):
        super().__init__("The edit was stopped.")
        self.results = results


@dataclass(frozen=True)
class Result:
    """One edited picture, and what made it. `heat_map`: where the instruction acts, if asked for and if any step ran both
    passes that it compares."""

    image: Image.Image
    seed: int
    text_scale: float
    image_scale: float
    infotext: str
    heat_map: Image.Image | None = None


@dataclass(frozen=True)
class Scene:
    """What all results of one edit share. picture, mask: at working size; condition: (4, h, w), the posterior's mode, unscaled;
    white: (1, h, w), 1 where a latent is edited; text, negative: (tokens, width)."""

    edit: Edit
    picture: Image.Image
    mask: Image.Image | None
    condition: torch.Tensor
    white: torch.Tensor | None
    text: torch.Tensor
    negative: torch.Tensor


@dataclass(frozen=True)
class Job:
    """One result to make; `index` is its place in the answer."""

    index: int
    scene: Scene
    seed: int
    guidance: Guidance
    noise: torch.Tensor | None  # (4, h, w)


class Editor:
    """An edit model, ready. `rows`: of every step of the last `edit` how many rows the UNet was given."""

    def __init__(self, unet, vae, text_encoder, tokenizer, *, name: str = "model", prediction_type: str = "epsilon"):
        if unet.config.in_channels != EDIT_CHANNELS:
            raise EditError(
                f"“{name}” is not an edit model: its network has {unet.config.in_channels} input channels, not {EDIT_CHANNELS}."
            )
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.name, self.prediction_type = name, prediction_type
        self.rows: list[int] = []

    @classmethod
    def load(cls, model, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Editor:
        """model: a diffusers folder, a single LDM file, a model's name on the Hugging Face hub, or `small`, the checkpoint that
        comes with the package; only a name on the hub, which `official` stands for, asks the network.

        Without a device CUDA where there is one; without a dtype fp16 there and fp32 on the CPU. Raises EditError.
        """
        from .networks import load_networks

        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = DTYPES.get(dtype, dtype) or (torch.float16 if device.type == "cuda" else torch.float32)
        if not isinstance(dtype, torch.dtype):
            raise EditError(f"There is no precision “{dtype}”. Known ones: {', '.join(DTYPES)}.")
        return cls(**load_networks(str(model))).to(device, dtype)

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Editor:
        for network in (self.unet, self.vae, self.text_encoder):
            torch.nn.Module.to(network, device, dtype)  # diffusers' own warns of layers kept in fp32, of which these have none
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @torch.inference_mode()
    def edit(
        self,
        edits: Edit | Sequence[Edit],
        *,
        noise: torch.Tensor | Sequence[torch.Tensor] | None = None,
        batch_size: int = MAX_BATCH,
        on_step: Callable[[int, int, torch.Tensor], bool | None] | None = None,
    ) -> list[Result]:
        """The results of every edit, in order: of each `count · batch_size` seeds, or its `variants`.

        noise: (4, h, w) for every result, (n, 4, h, w) of unit variance, in place of what its seed draws;
        batch_size: results of one size, sampler and step count that run together, whichever edit they are of;
        on_step(step, total, latents): after every step; False stops. Raises EditError and Interrupted.
        """
        self.rows = []
        edits = [edits] if isinstance(edits, Edit) else list(edits)
        for edit in edits:
            check_editor_can(edit)
        groups: dict[tuple, list[Job]] = {}
        jobs = self._jobs(edits, noise)
        for job in jobs:
            edit = job.scene.edit
            groups.setdefault((job.scene.picture.size, edit.sampler_name, edit.steps, edit.denoising_strength), []).append(job)
        batches = [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]
        totals = [len(self.timesteps(batch[0].scene.edit)[1]) for batch in batches]

        results: dict[int, Result] = {}
        for number, batch in enumerate(batches):
            report = on_step and partial(report_step, on_step, sum(totals[:number]), sum(totals))
            run = Run(self, batch)
            if not run.denoise(report):
                raise Interrupted([results[i] for i in sorted(results)])
            for i, job in enumerate(batch):
                results[job.index] = self._finish(job, run.latents[i], run.heat[i])
        return [results[i] for i in range(len(jobs))]

    def scheduler(self, edit: Edit):
        """diffusers' scheduler of the edit's sampler, its steps not yet set."""
        kind, options = SAMPLERS[edit.sampler_name]
        if kind is not DDIMScheduler:
            # diffusers' linspace of one step is the finished picture; "trailing" begins at the noisiest timestep.
            one_step = edit.steps == 1 and "Euler" in edit.sampler_name
            options = {**options, "timestep_spacing": "trailing" if one_step else "linspace"}
        return kind(**TRAINED, prediction_type=self.prediction_type, **options)

    def timesteps(self, edit: Edit):
        """(scheduler, its timesteps that this edit makes, the noisiest first), as the WebUI makes them of the same settings.

        DDIM ends at timestep 1 and not after it; an edit that starts from the picture makes the last share.
        """
        scheduler = self.scheduler(edit)
        scheduler.set_timesteps(edit.steps, device=self.device)
        ddim = isinstance(scheduler, DDIMScheduler)
        if ddim:
            every = [min(t + 1, 999) for t in range(0, 1000, 1000 // edit.steps)]
            scheduler.timesteps = torch.tensor(every[:0:-1], device=self.device)
        timesteps = scheduler.timesteps
        if edit.denoising_strength < 1:
            left = int(min(edit.denoising_strength, 0.999) * edit.steps) + (-1 if ddim else 1)
            timesteps = timesteps[max(len(timesteps) - left, 0) :] if left > 0 else timesteps[:0]
        if not len(timesteps):
            raise EditError(f"{edit.sampler_name} makes no step at {edit.steps} steps and strength {edit.denoising_strength}: choose more.")
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(len(scheduler.timesteps) - len(timesteps))
        return scheduler, timesteps

    def tokens(self, text: str) -> list[list[int]]:
        """Token ids in chunks of 77, BOS and EOS included; the empty text has one chunk."""
        tokenizer = self.tokenizer
        ids = tokenizer(as_clip_reads(text), add_special_tokens=False, verbose=False).input_ids
        comma = tokenizer.convert_tokens_to_ids(",</w>")
        chunks = []
        while ids or not chunks:
            end = CHUNK
            if len(ids) > CHUNK and ids[CHUNK] != comma and comma in ids[CHUNK - NEAR_COMMA : CHUNK]:
                end -= ids[CHUNK - 1 :: -1].index(comma)
            chunk, ids = ids[:end], ids[end:]
            padding = [tokenizer.pad_token_id] * (CHUNK - len(chunk))
            chunks.append([tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id, *padding])
        return chunks

    def encode_text(self, text: str) -> torch.Tensor:
        """text → (77·chunks, width): each chunk encoded alone, then put one after the other."""
        chunks = torch.tensor(self.tokens(text), device=self.device)
        return self.text_encoder(input_ids=chunks).last_hidden_state.flatten(0, 1)

    def encode_picture(self, picture: Image.Image) -> torch.Tensor:
        """→ (4, h, w), the mode of the VAE's posterior, not multiplied by the scale factor."""
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        return self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()[0].float()

    def decode(self, latent: torch.Tensor) -> np.ndarray:
        """latent: (4, h, w), scaled → (H, W, 3) in [0, 255]."""
        pixels = self.vae.decode(latent[None].to(self.vae.dtype) / self.vae.config.scaling_factor).sample[0]
        if not pixels.isfinite().all():
            raise EditError("The picture came out as not-a-number: this model needs fp32 or bf16.")
        return ((pixels.float().permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).cpu().numpy()

    def _jobs(self, edits: list[Edit], noise) -> list[Job]:
        texts: dict[tuple, torch.Tensor] = {}
        conditions: dict[tuple, tuple] = {}

        def encoded(text: str) -> torch.Tensor:
            key = tuple(map(tuple, self.tokens(text)))  # other words with the same tokens are the same text
            if key not in texts:
                texts[key] = self.encode_text(text)
            return texts[key]

        jobs = []
        for edit in edits:
            size = images.working_size(edit.image, edit.width, edit.height, edit.longest_side)
            key = (id(edit.image), size, edit.own_size)
            if edit.image.mode != "RGB":
                edit = replace(edit, image=images.upright_rgb(edit.image))
            if key not in conditions:
                picture = images.fit(edit.image, size, whole=edit.own_size)
                conditions[key] = picture, memory_told(self.encode_picture, picture)
            picture, condition = conditions[key]
            mask = white = None
            if edit.mask is not None:
                mask = images.fit(edit.mask.convert("L"), size, whole=edit.own_size)
                # Every latent that an edited pixel touches is edited; the exact outline is kept when the picture is finished.
                white = torch.from_numpy(np.asarray(mask, dtype=np.float32) > 0).float()[None]
                white = torch.nn.functional.adaptive_max_pool2d(white, condition.shape[-2:]).to(self.device)
            scene = Scene(edit, picture, mask, condition, white, encoded(edit.instruction), encoded(edit.negative_prompt))
            first = random.randrange(2**32) if edit.seed == -1 else edit.seed
            seeds = [cell.seed for cell in edit.variants] or [first + i for i in range(edit.count * edit.batch_size)]
            for place, seed in enumerate(seeds):
                seed = first if seed == -1 else seed
                jobs.append(Job(len(jobs), scene, seed, edit.guidance(seed, place), None))
        if noise is None:
            return jobs
        if len(noise) != len(jobs):
            raise EditError(f"There are {len(noise)} noises for {len(jobs)} results: give one for every result.")
        for job, given in zip(jobs, noise):
            if given.shape != job.scene.condition.shape:
                raise EditError(f"A noise is {tuple(given.shape)} but the latent is {tuple(job.scene.condition.shape)}.")
        return [replace(job, noise=given) for job, given in zip(jobs, noise)]

    def _finish(self, job: Job, latent: torch.Tensor, heat: torch.Tensor | None) -> Result:
        scene, edit = job.scene, job.scene.edit
        if scene.white is not None:
            latent = torch.lerp(scene.condition * self.vae.config.scaling_factor, latent, scene.white)
        pixels = images.finish(memory_told(self.decode, latent), edit, scene.picture, scene.mask)
        scales = job.guidance.text_scale, job.guidance.image_scale
        return Result(
            image=Image.fromarray((pixels + 0.5).astype(np.uint8)),
            seed=job.seed,
            text_scale=scales[0],
            image_scale=scales[1],
            infotext=infotext_of(edit, seed=job.seed, scales=scales, size=scene.picture.size, model=self.name),
            heat_map=images.heat_picture(heat.cpu().numpy(), scene.picture) if edit.heat_map and heat is not None else None,
        )


class Run:
    """One batch on its way from noise to latents. latents: (pictures, 4, h, w), in float32 whatever the networks' precision.

    The passes are laid out row by row: `full` of every picture, then `image`, then `uncond`.
    """

    def __init__(self, editor: Editor, jobs: list[Job]):
        self.editor, self.jobs, self.batch = editor, jobs, len(jobs)
        edit = jobs[0].scene.edit
        self.scheduler, self.timesteps = editor.timesteps(edit)
        # One for every picture and on the CPU: a seed gives one picture in any batch and on any device.
        self.generators = [torch.Generator().manual_seed(job.seed) for job in jobs]
        self.step_options = {"generator": self.generators} if edit.sampler_name == "Euler a" else {}
        conditions = torch.stack([job.scene.condition for job in jobs])
        self.pictures = torch.cat([conditions, conditions, torch.zeros_like(conditions)]).to(editor.dtype)
        negatives = [job.scene.negative for job in jobs]
        self.texts = [*(job.scene.text for job in jobs), *negatives, *negatives]
        self.start = conditions * editor.vae.config.scaling_factor
        self.layout = [range(i, 3 * self.batch, self.batch) for i in range(self.batch)]
        self.twins = {frozenset(pair) for rows in self.layout for pair in combinations(rows, 2) if self._equal(*pair)}
        self.limit = 3 * self.batch  # rows in one call of the UNet
        self.heat: list[torch.Tensor | None] = [None] * self.batch  # (h, w), the sum over steps of |full − image| in units of ε
        # Drawn even where it is given, so that the noise of later steps is the same.
        noise = [torch.randn(job.scene.condition.shape, generator=generator) for job, generator in zip(jobs, self.generators)]
        noise = torch.stack([drawn if job.noise is None else job.noise.cpu() for job, drawn in zip(jobs, noise)])
        self.latents = noise.to(self.start)
        if edit.denoising_strength < 1:
            alpha, sigma = self._noise_level(0)
            scale = alpha if self.scheduler.init_noise_sigma == 1 else 1.0  # Euler's latents are not shrunk
            self.latents = (self.start * alpha + self.latents * sigma) * (scale / alpha)
        else:
            self.latents = self.latents * self.scheduler.init_noise_sigma

    def denoise(self, on_step) -> bool:
        """All steps. on_step(step, latents); False when that stopped it."""
        for step, t in enumerate(self.timesteps):
            x = self.scheduler.scale_model_input(self.latents, t)
            plan = self._plan(t)
            predictions = self._predict(x, t, plan.rows)
            self._add_heat(predictions, plan.rows, step)
            guided = self._keep_outside_mask(plan.combine(predictions), x, step)
            self.latents = self.scheduler.step(guided, t, self.latents, **self.step_options).prev_sample
            if on_step and on_step(step + 1, self.latents) is False:
                return False
        return True

    def _plan(self, t: torch.Tensor) -> Plan:
        progress = progress_at(float(t), self.scheduler.config.num_train_timesteps)
        weights = [pass_weights(*job.guidance.at(progress)) for job in self.jobs]
        return plan_passes(weights, self.layout, lambda a, b: frozenset((a, b)) in self.twins)

    def _equal(self, a: int, b: int) -> bool:
        """Whether two rows of a picture ask the network for the same thing."""
        texts = self.texts[a], self.texts[b]
        same_text = texts[0] is texts[1] or (texts[0].shape == texts[1].shape and torch.equal(*texts))
        return same_text and torch.equal(self.pictures[a], self.pictures[b])

    def _predict(self, x: torch.Tensor, t: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
        """Predictions of `rows`, (len(rows), 4, h, w): in one call for every token count, in smaller ones once memory ran out."""
        while True:
            try:
                outputs = {}
                for group in self._same_length(rows):
                    for start in range(0, len(group), self.limit):
                        part = group[start : start + self.limit]
                        outputs.update(zip(part, self._call(x, t, part)))
                self.editor.rows.append(len(rows))
                return torch.stack([outputs[row] for row in rows])
            except torch.OutOfMemoryError as e:
                if self.limit == 1:
                    raise EditError(OUT_OF_MEMORY) from e
                self.limit = self.batch if self.limit > self.batch else 1
                outputs = None
            # Outside the handler, where the failed call's tensors are no longer held by its traceback.
            if self.editor.device.type == "cuda":
                torch.cuda.empty_cache()

    def _call(self, x: torch.Tensor, t: torch.Tensor, rows: list[int]) -> torch.Tensor:
        latents = x[[row % self.batch for row in rows]].to(self.editor.dtype)
        texts = torch.stack([self.texts[row] for row in rows])
        return self.editor.unet(torch.cat([latents, self.pictures[rows]], 1), t, encoder_hidden_states=texts).sample.float()

    def _same_length(self, rows: tuple[int, ...]) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for row in rows:
            groups.setdefault(len(self.texts[row]), []).append(row)
        return list(groups.values())

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
            if job.scene.white is None:
                continue
            if self.scheduler.config.prediction_type == "v_prediction":  # v = α·ε − σ·x0 (Salimans and Ho, arXiv 2202.00512)
                kept = (alpha * x[i] - self.start[i]) / sigma
            else:
                kept = (x[i] - alpha * self.start[i]) / sigma
            guided[i] = torch.lerp(kept, guided[i], job.scene.white)
        return guided

    def _add_heat(self, predictions: torch.Tensor, rows: tuple[int, ...], step: int) -> None:
        for i, job in enumerate(self.jobs):
            if job.scene.edit.heat_map and i in rows and i + self.batch in rows:
                heat = (predictions[rows.index(i)] - predictions[rows.index(i + self.batch)]).abs().mean(0)
                if self.scheduler.config.prediction_type == "v_prediction":  # at one x, Δε = α·Δv
                    heat = heat * self._noise_level(step)[0]
                self.heat[i] = heat if self.heat[i] is None else self.heat[i] + heat


def check_editor_can(edit: Edit) -> None:
    """Raises EditError for what only the WebUI does."""
    if edit.sampler_name not in SAMPLERS:
        raise EditError(f"There is no sampler “{edit.sampler_name}”. Known ones: {', '.join(SAMPLERS)}.")
    if edit.scheduler not in ("", "Automatic"):
        raise EditError(f"There is no schedule type “{edit.scheduler}” here. Known ones: Automatic.")
    if edit.styles:
        raise EditError("Styles are the WebUI's: write what they say into the instruction.")


def report_step(on_step, before: int, total: int, step: int, latents: torch.Tensor) -> bool | None:
    return on_step(before + step, total, latents)


def memory_told(function, argument):
    """function(argument), with an EditError where memory runs out."""
    try:
        return function(argument)
    except torch.OutOfMemoryError as e:
        raise EditError(OUT_OF_MEMORY) from e
