"""The custom CFG denoiser: the three passes of InstructPix2Pix inside the host's samplers.

`edit_denoiser` puts it into one sampler for one run and takes it out whatever happens. It stands in for
`modules.sd_samplers_cfg_denoiser.CFGDenoiser.forward` and keeps that one's services: interrupt and skip, refiner, prompt
scheduling, AND, mask blending, the three callbacks, `last_noise_uncond` for CFG++, the live preview, the count of steps.

What other extensions' callbacks see does not depend on which passes are dropped: always the rows of a host's edit step,
sub-prompts of every picture, then `image` of every picture, then `uncond`. `cfg_denoiser` may change any of them, and what
it changed is what is compared and run. In `cfg_denoised` a row that did not run holds the prediction of its duplicate, or, if its
weight is zero, that of the nearest pass of the same picture; changing such a row changes nothing.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import cache

import torch

from modules import devices, prompt_parser, scripts, sd_models, sd_samplers_common, shared
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)

from ..checkpoints.recognise import EDIT_CHANNELS, refusal
from ..checkpoints.student import SCOPED, refuse
from ..errors import EditError
from ..guidance import Cadence, Guidance, Scale, pass_weights, progress_at
from ..passes import HeldPasses, Rows, Runner, plan_passes
from .one_pass import name_of, student_of
from .settings import passes_are_batched

RUNS_EXACT = "This sampler uses the pass without text and picture in every step: the edit ran exact, not fast."
OUT_OF_MEMORY = "There is not enough GPU memory for this edit: choose a smaller size or batch size, or start the WebUI with --medvram."


class EditRun:
    """What one run of the denoiser is given, and what it leaves behind. guidance: one for every picture of the batch, or one for all."""

    def __init__(self, guidance: list[Guidance], denoiser):
        self.guidance, self._denoiser = guidance, denoiser
        self.calls = 0
        self.runner = Runner(by_pass=not passes_are_batched(), on_memory_shortage=self._say_fallback)
        self.held = HeldPasses(self.runner, self._per_epsilon)
        self._fell_back = False

    def of_picture(self, index: int) -> Guidance:
        return self.guidance[index if len(self.guidance) > 1 else 0]

    def cadence(self, pictures: int) -> list[Cadence]:
        """Of every picture of the batch. CFG++ renoises with `uncond` itself in every call."""
        asked = [self.of_picture(i).cadence for i in range(pictures)]
        if self._denoiser.need_last_noise_uncond and not all(one.exact for one in asked):
            self._denoiser.p.comment(RUNS_EXACT)
            return [Cadence()] * pictures
        return asked

    def _per_epsilon(self, level: torch.Tensor) -> torch.Tensor:
        """The host's denoisers give x0 of models of ε and of v alike, those of DDIM and its kin ε."""
        return -level if hasattr(self._denoiser.inner_model, "sigma_to_t") else torch.ones_like(level)

    def _say_fallback(self) -> None:
        devices.torch_gc()
        if not self._fell_back:
            self._fell_back = True
            self._denoiser.p.comment("GPU memory ran out: the passes of this edit run one after another.")


@contextmanager
def edit_denoiser(sampler, guidance: list[Guidance]):
    """Within the block `sampler` edits. guidance: one for every picture of the batch, or one for all.

    The denoiser object stays the sampler's own, so what other extensions patched on it stays too; only its class changes,
    to a subclass of itself. Raises EditError when memory runs out for a single row, and after a run in which something else
    had taken over its `forward`.
    """
    denoiser = sampler.model_wrap_cfg
    original = type(denoiser)
    denoiser.__class__ = _edit_class(original)
    denoiser.ip2p = run = EditRun(guidance, denoiser)
    try:
        yield run
        if not run.calls and denoiser.step:
            raise EditError("Another extension has replaced the denoiser, so the edit never ran: switch that extension off and try again.")
    except torch.cuda.OutOfMemoryError as e:
        raise EditError(OUT_OF_MEMORY) from e
    finally:
        denoiser.__class__ = original
        del denoiser.ip2p


@cache
def _edit_class(original: type) -> type:
    return type(f"Edit{original.__name__}", (EditForward, original), {})


def is_edit_model(sd_model) -> bool:
    """Whether the loaded model's UNet takes a noised latent and a picture's, and it is none that is refused by name."""
    first = getattr(getattr(getattr(sd_model, "model", None), "diffusion_model", None), "input_blocks", None)
    return first is not None and first[0][0].weight.shape[1] == EDIT_CHANNELS and refusal_of_model(sd_model) is None


def refusal_of_model(sd_model) -> str | None:
    """Why the loaded checkpoint can't be edited with although its network looks like an edit model's, such as CosXL-Edit; else None."""
    file = getattr(getattr(sd_model, "sd_checkpoint_info", None), "filename", None)
    return file and refusal(file)


def check_loaded() -> None:
    """Raises EditError when no checkpoint is loaded and none can be."""
    # Asked for its model without any checkpoint, the host prints a traceback every time.
    if (sd_models.model_data.sd_model is None and not sd_models.checkpoints_list) or shared.sd_model is None:
        raise EditError("No checkpoint is loaded: choose an InstructPix2Pix checkpoint at the top of the page.")


def check_edit_model(sd_model) -> None:
    """Raises EditError for a model that is no edit model or is refused by name."""
    if not is_edit_model(sd_model):
        name = sd_model.sd_checkpoint_info.name_for_extra
        if against := refusal_of_model(sd_model):
            raise EditError(f"“{name}” can't be used: {against}. Choose another edit checkpoint.")
        raise EditError(f"“{name}” is not an edit model: choose an InstructPix2Pix checkpoint, one whose network has 8 input channels.")


def conditions_of(picture: torch.Tensor, text) -> dict:
    """Of some rows of the host's model, as that takes them."""
    if not isinstance(text, dict):
        return {"c_crossattn": [text], "c_concat": [picture]}
    # SDXL: the network's wrapper appends `concat` to the latent; a model that is no edit model has no room for it
    return {**text, "concat": picture} if is_edit_model(shared.sd_model) else text


class EditForward:
    """The `forward` of an edit, mixed into the sampler's own denoiser class. `self.ip2p` is the run."""

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        """One guided prediction.

        x: (b, 4, h, w) noised latents; sigma: (b,), for DDIM and its kin the timestep; uncond, cond: the host's prompt
        schedules; image_cond: (b, 4, h, w), the mode of the pictures' posterior, unscaled. Returns x0 for k-diffusion and
        LCM, ε for DDIM, PLMS and UniPC.
        """
        run: EditRun = self.ip2p
        if shared.state.interrupted or shared.state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond, uncond = self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"]
            run.held.forget()

        prompts, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        negative = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask is not None and self.mask_before_denoising:
            x = self._blend(x, sigma)

        rows = self._rows(prompts, x, sigma, text, negative, image_cond)
        scales = [self._scales(i, sigma, s_min_uncond) for i in range(len(prompts))]
        prompt_weights = [[weight for _, weight in prompt] for prompt in prompts]
        if student_of(shared.sd_model) is not None:
            self._check_student(scales)
            rows, weights = rows.in_one_pass(scales, prompt_weights)
        else:
            weights = [pass_weights(*both, of) for both, of in zip(scales, prompt_weights)]
        uncond = [of_picture[-1] for of_picture in rows.of_picture]
        plan = plan_passes(weights, rows.of_picture, rows.equal, always=uncond if self.need_last_noise_uncond else ())
        predictions = run.held.run(self._network, rows, plan, run.cadence(len(prompts)))

        out = predictions[list(plan.representative)]
        denoised_params = CFGDenoisedParams(out, shared.state.sampling_step, shared.state.sampling_steps, self.inner_model)
        cfg_denoised_callback(denoised_params)
        out = denoised_params.x

        if self.need_last_noise_uncond:
            self.last_noise_uncond = out[uncond].clone()
        denoised = plan.combine(out[list(plan.rows)])
        if self.mask is not None and not self.mask_before_denoising:
            denoised = self._blend(denoised, sigma)
        self._show(rows, out, denoised, sigma)

        after = AfterCFGCallbackParams(denoised, shared.state.sampling_step, shared.state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        run.calls += 1
        return after.x

    def _scales(self, picture: int, sigma, s_min_uncond) -> tuple[Scale, Scale]:
        """Scales of one picture in this call. Skip early CFG and NGMS switch both guidances off: `full` alone runs."""
        options, params = shared.opts, self.p.extra_generation_params
        if options.skip_early_cond != 0.0 and self.step / self.total_steps <= options.skip_early_cond:
            params["Skip Early CFG"] = options.skip_early_cond
            return 1.0, 1.0
        if (self.step % 2 or options.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            params["NGMS"] = s_min_uncond
            if options.s_min_uncond_all:
                params["NGMS all steps"] = options.s_min_uncond_all
            return 1.0, 1.0
        guidance = self.ip2p.of_picture(picture)
        text, image = guidance.at(self._progress(sigma[picture]) if guidance.scheduled else 0.0)
        return text * self.cond_scale_miltiplier, image * self.cond_scale_miltiplier

    def _progress(self, sigma) -> float:
        to_timestep = getattr(self.inner_model, "sigma_to_t", None)  # DDIM and its kin lack it: sigma is the timestep
        return progress_at(float(to_timestep(sigma) if to_timestep else sigma))

    def _rows(self, prompts, x, sigma, text, negative, image_cond) -> Rows:
        """Every pass of every picture as a row: sub-prompts, then `image`, then `uncond`, as `cfg_denoiser` callbacks leave them."""
        pictures, texts = len(prompts), sum(map(len, prompts))
        owner = [i for i, prompt in enumerate(prompts) for _ in prompt] + 2 * list(range(pictures))
        nothing = torch.zeros_like(image_cond)
        # After a refiner that is no edit model there is no picture to give: `image` and `uncond` become one pass.
        picture = image_cond if is_edit_model(shared.sd_model) else nothing
        params = CFGDenoiserParams(
            x[owner], torch.cat([picture[owner[:texts]], picture, nothing]), sigma[owner],
            shared.state.sampling_step, shared.state.sampling_steps, text, negative, self,
        )  # fmt: skip
        cfg_denoiser_callback(params)

        text, negative = params.text_cond, params.text_uncond
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if text.shape[1] != negative.shape[1]:
            if shared.opts.pad_cond_uncond_v0:
                text, negative = self.pad_cond_uncond_v0(text, negative)
            elif shared.opts.pad_cond_uncond:
                text, negative = self.pad_cond_uncond(text, negative)
        of_pictures = split(negative, pictures)
        return Rows(
            latent=params.x,
            level=params.sigma,
            picture=params.image_cond,
            text=[*split(text, texts), *of_pictures, *of_pictures],
            of_picture=[[*(row for row, _ in prompt), texts + i, texts + pictures + i] for i, prompt in enumerate(prompts)],
        )

    def _check_student(self, scales) -> None:
        """Raises EditError for what only the sampler or a refiner brings to light."""
        for needs, what in (
            (self.need_last_noise_uncond, "A sampler of the kind CFG++"),
            (any(isinstance(scale, torch.Tensor) for both in scales for scale in both), SCOPED),
        ):
            if needs:
                raise refuse(what, name_of(shared.sd_model))

    def _network(self, latent, sigma, picture, text, scales=None) -> torch.Tensor:
        """The host's model on some rows; scales: those that a student is told."""
        model = shared.sd_model
        told = student_of(model).told(model.model.diffusion_model.time_embed[0], scales) if scales is not None else nullcontext()
        with told:
            return self.inner_model(latent, sigma, cond=conditions_of(picture, text))

    def _blend(self, latent, sigma):
        blended = latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is not None:
            args = scripts.MaskBlendArgs(latent, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma)
            self.p.scripts.on_mask_blend(self.p, args)
            blended = args.blended_latent
        return blended

    def _show(self, rows: Rows, out, denoised, sigma) -> None:
        full, uncond = ([of_picture[place] for of_picture in rows.of_picture] for place in (0, -1))
        # The host keeps the text pass here; an interrupted edit is better given back as it was going to be.
        self.sampler.last_latent = self.get_pred_x0(rows.latent[full], denoised, sigma)
        content = shared.opts.live_preview_content
        if content in ("Prompt", "Negative prompt"):
            shown = full if content == "Prompt" else uncond
            preview = self.get_pred_x0(rows.latent[shown], out[shown], sigma)
        else:
            preview = self.sampler.last_latent
        sd_samplers_common.store_latent(preview)


def split(text, rows: int) -> list:
    """The host's text of some rows, a tensor or SDXL's dictionary of such, row by row."""
    return [{k: v[row] for k, v in text.items()} if isinstance(text, dict) else text[row] for row in range(rows)]
